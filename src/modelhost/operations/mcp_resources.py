"""The operations on what MCP servers offer besides tools: resources and prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from pydantic import Field

from modelhost.errors import McpServerNotFound, ToolCallFailed, ToolError, ToolServerUnavailable
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Result
from modelhost.operations.tools import OfServer, ServerName
from modelhost.tools.status import PromptCard, ResourceCard, ResourceText, ServerState

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.tools.hub import ToolHub

T = TypeVar("T")


class ResourceParameters(Parameters):
    """A resource of an MCP server."""

    server: ServerName
    uri: str = Field(min_length=1, description="The URI.")


class PromptParameters(Parameters):
    """A prompt of an MCP server."""

    server: ServerName
    name: str = Field(min_length=1, description="The name.")
    arguments: dict[str, str] = Field(default_factory=dict, description="The arguments of the prompt.")


class ResourceList(Result):
    """The resources of one server, or of all that are ready."""

    object: Literal["list"] = "list"
    data: list[ResourceCard]
    errors: dict[str, str] = Field(description="Why servers are left out, by server.")


class ResourceContents(Result):
    """All that was found at the address of a resource."""

    server: str
    contents: list[ResourceText]


class PromptList(Result):
    """The prompts of one server, or of all that are ready."""

    object: Literal["list"] = "list"
    data: list[PromptCard]
    errors: dict[str, str] = Field(description="Why servers are left out, by server.")


class FilledPrompt(Result):
    """A prompt with its arguments filled in."""

    server: str
    name: str
    description: str | None
    messages: list[dict[str, Any]] = Field(description="As in a chat request.")


async def _list_resources(host: Host, parameters: OfServer, _on_progress: OnProgress) -> ResourceList:
    found, errors = await _of_servers(host.tools, parameters.server, host.readings.resources)
    return ResourceList(data=found, errors=errors)


async def _read_resource(host: Host, parameters: ResourceParameters, _on_progress: OnProgress) -> ResourceContents:
    contents = await host.readings.resource(parameters.server, parameters.uri)
    return ResourceContents(server=parameters.server, contents=list(contents))


async def _list_prompts(host: Host, parameters: OfServer, _on_progress: OnProgress) -> PromptList:
    found, errors = await _of_servers(host.tools, parameters.server, host.readings.prompts)
    return PromptList(data=found, errors=errors)


async def _get_prompt(host: Host, parameters: PromptParameters, _on_progress: OnProgress) -> FilledPrompt:
    prompt = await host.readings.prompt(parameters.server, parameters.name, parameters.arguments)
    messages = [dict(message) for message in prompt.messages]
    return FilledPrompt(
        server=parameters.server, name=parameters.name, description=prompt.description, messages=messages
    )


async def _of_servers(
    hub: ToolHub, server: str | None, read: Callable[[str], Awaitable[Iterable[T]]]
) -> tuple[list[T], dict[str, str]]:
    """Read from ``server``, or from all ready servers concurrently; return what was found, and errors by server."""
    if server is not None:
        return list(await read(server)), {}
    errors: dict[str, str] = {}

    async def read_or_note(name: str) -> Iterable[T]:
        try:
            return await read(name)
        except ToolError as error:
            errors[name] = error.message
            return ()

    names = [status.name for status in hub.statuses() if status.state is ServerState.READY]
    found = await asyncio.gather(*(read_or_note(name) for name in names))
    return [each for of_one in found for each in of_one], errors


READING_ERRORS: Final = (McpServerNotFound, ToolServerUnavailable, ToolCallFailed)
LIST_RESOURCES: Final = Operation(
    name="list-resources",
    summary="List the resources of the MCP servers",
    work=_list_resources,
    route=HttpRoute(method="GET", path="/v1/mcp/resources"),
    command="resources",
    area="tools",
    errors=READING_ERRORS,
    audited=("server",),
    example={"server": "weather"},
    answer={
        "object": "list",
        "data": [
            {
                "server": "weather",
                "uri": "weather://{city}/history",
                "name": "history",
                "title": "History",
                "description": "The weather of the last ten years.",
                "media_type": "text/csv",
                "size": None,
                "is_template": True,
            }
        ],
        "errors": {},
    },
)
READ_RESOURCE: Final = Operation(
    name="read-resource",
    summary="Read a resource of an MCP server",
    work=_read_resource,
    route=HttpRoute(method="POST", path="/v1/mcp/resources/read"),
    command="resource",
    only_reads=True,
    area="tools",
    errors=READING_ERRORS,
    audited=("server",),
    example={"server": "weather", "uri": "weather://paris/history"},
    answer={
        "server": "weather",
        "contents": [
            {"uri": "weather://paris/history", "media_type": "text/csv", "text": "day,degrees\n1,4\n", "blob": None}
        ],
    },
)
LIST_PROMPTS: Final = Operation(
    name="list-prompts",
    summary="List the prompts of the MCP servers",
    work=_list_prompts,
    route=HttpRoute(method="GET", path="/v1/mcp/prompts"),
    command="prompts",
    area="tools",
    errors=READING_ERRORS,
    audited=("server",),
    example={"server": "weather"},
    answer={
        "object": "list",
        "data": [
            {
                "server": "weather",
                "name": "pack",
                "title": "What to pack",
                "description": "A list for a suitcase.",
                "arguments": [{"name": "city", "description": "Where to.", "is_required": True}],
            }
        ],
        "errors": {},
    },
)
GET_PROMPT: Final = Operation(
    name="get-prompt",
    summary="Fill in a prompt of an MCP server",
    work=_get_prompt,
    route=HttpRoute(method="POST", path="/v1/mcp/prompts/get"),
    command="prompt",
    only_reads=True,
    area="tools",
    errors=READING_ERRORS,
    audited=("server", "name"),
    example={"server": "weather", "name": "pack", "arguments": {"city": "Paris"}},
    answer={
        "server": "weather",
        "name": "pack",
        "description": "A list for a suitcase.",
        "messages": [{"role": "user", "content": "What do I pack for Paris?"}],
    },
)
