"""What the official suite wants of a server under test besides the server's own: its tools, resources and prompts.

A host serves them beside its own once ``McpEndpoint.extension`` is :data:`EXTENSION`.
The suite tests servers that do not implement what 2026-07-28 has removed; ours answers ``ping`` in that era too, for
clients that judge by it whether a server is there, and leaves that out here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import ListenHandler

from modelhost.mcp_servers.http import Extension
from modelhost.mcp_servers.server import answer_ping
from tests.conformance import fixture_input, fixture_prompts, fixture_resources, fixture_tools
from tests.conformance.fixture_tools import Context, Tool

TOOLS: Mapping[str, Tool] = {tool.definition.name: tool for tool in (*fixture_tools.TOOLS, *fixture_input.TOOLS)}


def extend(server: Server[Any]) -> None:
    """Put the fixtures behind the server's own."""
    _add_tools(server)
    _add_resources(server)
    _add_prompts(server)
    server.cache_hints["prompts/list"] = CacheHint(ttl_ms=60_000, scope="public")
    server.middleware.remove(answer_ping)
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name))
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, _nothing)
    server.add_request_handler("completion/complete", types.CompleteRequestParams, _complete)
    listen = ListenHandler(fixture_tools.BUS)
    server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, listen)


def _add_tools(server: Server[Any]) -> None:
    own_list, own_call, own_schema = (
        _handler(server, "tools/list"),
        _handler(server, "tools/call"),
        server.get_tool_input_schema,
    )

    async def list_tools(ctx: Context, asked: types.PaginatedRequestParams) -> types.ListToolsResult:
        own = await own_list(ctx, asked)
        return types.ListToolsResult(tools=[*own.tools, *(tool.definition for tool in TOOLS.values())])

    async def call_tool(ctx: Context, asked: types.CallToolRequestParams) -> Any:
        tool = TOOLS.get(asked.name)
        return await (own_call(ctx, asked) if tool is None else tool.call(ctx, asked))

    def input_schema(name: str) -> Mapping[str, Any] | None:
        assert own_schema is not None
        return TOOLS[name].definition.input_schema if name in TOOLS else own_schema(name)

    server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    server.get_tool_input_schema = input_schema


def _add_resources(server: Server[Any]) -> None:
    own_list, own_templates, own_read = (
        _handler(server, method) for method in ("resources/list", "resources/templates/list", "resources/read")
    )

    async def list_resources(ctx: Context, asked: types.PaginatedRequestParams) -> types.ListResourcesResult:
        own = await own_list(ctx, asked)
        return types.ListResourcesResult(resources=[*own.resources, *fixture_resources.RESOURCES])

    async def list_templates(ctx: Context, asked: types.PaginatedRequestParams) -> types.ListResourceTemplatesResult:
        own = await own_templates(ctx, asked)
        return types.ListResourceTemplatesResult(
            resource_templates=[*own.resource_templates, fixture_resources.TEMPLATE]
        )

    async def read_resource(ctx: Context, asked: types.ReadResourceRequestParams) -> Any:
        found = fixture_resources.contents(str(asked.uri))
        return await own_read(ctx, asked) if found is None else types.ReadResourceResult(contents=[found])

    server.add_request_handler("resources/list", types.PaginatedRequestParams, list_resources)
    server.add_request_handler("resources/templates/list", types.PaginatedRequestParams, list_templates)
    server.add_request_handler("resources/read", types.ReadResourceRequestParams, read_resource)
    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, _nothing)
    server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, _nothing)


def _add_prompts(server: Server[Any]) -> None:
    async def list_prompts(_ctx: Context, _asked: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=list(fixture_prompts.PROMPTS))

    server.add_request_handler("prompts/list", types.PaginatedRequestParams, list_prompts)
    server.add_request_handler("prompts/get", types.GetPromptRequestParams, fixture_prompts.get)


def _handler(server: Server[Any], method: str) -> Any:
    entry = server.get_request_handler(method)
    assert entry is not None
    return entry.handler


async def _nothing(_ctx: Context, _asked: Any) -> types.EmptyResult:
    return types.EmptyResult()


async def _complete(_ctx: Context, _asked: Any) -> types.CompleteResult:
    return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))


class _Events(EventStore):
    """Keeps all events, for clients that lose a stream and come back."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        last = int(last_event_id)
        stream = self._events[last][0]
        for number, (of, message) in enumerate(self._events):
            if number > last and of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


EXTENSION = Extension(extend=extend, event_store=_Events(), retry_milliseconds=100)
