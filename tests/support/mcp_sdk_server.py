"""An MCP server made with the SDK, of both eras, over stdio, streamable HTTP or server-sent events.

Run as ``python mcp_sdk_server.py stdio|streamable-http|sse [PORT]``.
"""

from __future__ import annotations

import base64
import sys
from typing import Annotated, Any

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from pydantic import BaseModel

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
server = MCPServer("sdk-server", instructions="Be gentle.")


class Sum(BaseModel):
    total: int


@server.tool(annotations=types.ToolAnnotations(read_only_hint=True))
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


@server.tool(structured_output=False)
def picture() -> list[Any]:
    """Text, an image and a resource."""
    image = types.ImageContent(data=base64.b64encode(PIXEL).decode(), mime_type="image/png")
    resource = types.TextResourceContents(uri="memo://one", text="a memo", mime_type="text/plain")
    return [types.TextContent(text="look"), image, types.EmbeddedResource(resource=resource)]


@server.tool()
def big(count: int) -> str:
    """Say much."""
    return "x" * count


@server.tool()
async def work(context: Context) -> str:
    """Report progress."""
    await context.report_progress(1, 2, "half")
    return "done"


@server.tool()
async def grow(context: Context) -> str:
    """Get another tool."""
    server.add_tool(lambda: "new", name="grown", description="New.")
    await context.notify_tools_changed()
    return "grown"


@server.tool()
async def depth(context: Context) -> str:
    """Say how deep the call stands, as the message and the HTTP request tell."""
    meta = context.request_context.meta or {}
    return f"{meta.get('modelhost/depth')} {(context.headers or {}).get('x-modelhost-depth')}"


class Name(BaseModel):
    name: str


def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


def ask_folders() -> ListRoots:
    return ListRoots()


def ask_model() -> Sample:
    message = types.SamplingMessage(role="user", content=types.TextContent(text="Write a haiku."))
    return Sample(messages=[message], max_tokens=50)


@server.tool()
async def hello(name: Annotated[ElicitationResult[Name], Resolve(ask_name)]) -> str:
    """Ask for a name."""
    return f"{name.action}: {name.data.name if name.action == 'accept' else ''}"


@server.tool()
async def haiku(written: Annotated[types.CreateMessageResult, Resolve(ask_model)]) -> str:
    """Have a model write."""
    return f"{written.model}: {written.content}"


@server.tool()
async def folders(found: Annotated[types.ListRootsResult, Resolve(ask_folders)]) -> str:
    """Name the roots."""
    return " ".join(str(root.uri) for root in found.roots)


@server.resource("memo://one", name="one", mime_type="text/plain")
def memo() -> str:
    return "a memo"


@server.resource("memo://numbers/{number}", name="numbers")
def numbered(number: str) -> str:
    return f"memo {number}"


@server.prompt()
def greet(name: str) -> str:
    """Greet someone."""
    return f"Greet {name}."


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run(sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]))
