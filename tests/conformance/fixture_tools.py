"""Tools that answer by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

Context = ServerRequestContext[Any, Any]
Call = Callable[[Context, types.CallToolRequestParams], Awaitable[Any]]

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
SILENCE: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
STEP_SECONDS: Final = 0.05
BUS: Final = InMemorySubscriptionBus()


@dataclass(frozen=True, slots=True)
class Tool:
    definition: types.Tool
    call: Call


def tool(
    name: str, description: str, properties: dict[str, Any] | None = None, schema: dict[str, Any] | None = None
) -> Callable[[Call], Tool]:
    """Make a handler a tool."""
    input_schema = schema or {"type": "object", "properties": properties or {}}
    return lambda call: Tool(types.Tool(name=name, description=description, input_schema=input_schema), call)


def text(said: str) -> types.CallToolResult:
    """A result of one text."""
    return result(types.TextContent(type="text", text=said))


def result(*content: types.ContentBlock) -> types.CallToolResult:
    return types.CallToolResult(content=list(content))


@tool("test_simple_text", "Gives text.")
async def simple_text(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    return text("This is a simple text response for testing.")


@tool("test_image_content", "Gives an image.")
async def image_content(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    return result(types.ImageContent(type="image", data=PIXEL, mime_type="image/png"))


@tool("test_audio_content", "Gives a sound.")
async def audio_content(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    return result(types.AudioContent(type="audio", data=SILENCE, mime_type="audio/wav"))


def _embedded(uri: str, mime_type: str, said: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=said)
    return types.EmbeddedResource(type="resource", resource=contents)


@tool("test_embedded_resource", "Gives a resource.")
async def embedded_resource(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    return result(_embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."))


@tool("test_multiple_content_types", "Gives text, an image and a resource.")
async def multiple_content_types(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    return result(
        types.TextContent(type="text", text="Multiple content types test:"),
        types.ImageContent(type="image", data=PIXEL, mime_type="image/png"),
        _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    )


@tool("test_tool_with_logging", "Logs while it works.")
async def tool_with_logging(ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    for step in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(ctx, step)
        await asyncio.sleep(STEP_SECONDS)
    return text("Tool with logging executed successfully")


@tool("test_logging_tool", "Logs, if it was asked to.")
async def logging_tool(ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    await log(ctx, "This is for clients that have set a level.")
    return text("Logged")


async def log(ctx: Context, said: str) -> None:
    await ctx.session.send_log_message("info", said, related_request_id=ctx.request_id)


@tool("test_tool_with_progress", "Tells of its progress.")
async def tool_with_progress(ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(STEP_SECONDS)
    return text("Done")


@tool("test_error_handling", "Fails.")
async def error_handling(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    content = types.TextContent(type="text", text="This tool intentionally returns an error for testing")
    return types.CallToolResult(content=[content], is_error=True)


@tool("test_reconnection", "Closes its stream in the middle.")
async def reconnection(ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(4 * STEP_SECONDS)  # in which the client comes back
    return text("Reconnection test completed successfully")


@tool("test_missing_capability", "Needs a client that can sample.")
async def missing_capability(ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    needed = types.ClientCapabilities(sampling=types.SamplingCapability())
    if not ctx.session.check_client_capability(needed):
        data = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs the capability sampling.", data)
    return text("The client can sample.")


@tool("test_trigger_tool_change", "Tells that the tools have changed.")
async def trigger_tool_change(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    await BUS.publish(ToolsListChanged())
    return text("Told")


@tool("test_trigger_prompt_change", "Tells that the prompts have changed.")
async def trigger_prompt_change(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    await BUS.publish(PromptsListChanged())
    return text("Told")


@tool(
    "test_headers",
    "Takes a parameter that stands in a header too.",
    {"region": {"type": "string", "x-mcp-header": "Region"}, "query": {"type": "string"}},
)
async def headers(_ctx: Context, asked: types.CallToolRequestParams) -> Any:
    return text(str((asked.arguments or {}).get("region")))


@tool(
    "json_schema_2020_12_tool",
    "Tool with JSON Schema 2020-12 features",
    schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
)
async def json_schema_tool(_ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    return text("Taken")


TOOLS: Final = (
    simple_text,
    image_content,
    audio_content,
    embedded_resource,
    multiple_content_types,
    tool_with_logging,
    logging_tool,
    tool_with_progress,
    error_handling,
    reconnection,
    missing_capability,
    trigger_tool_change,
    trigger_prompt_change,
    headers,
    json_schema_tool,
)
