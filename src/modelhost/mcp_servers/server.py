"""One MCP server: its tools and resources, and their callers, whatever carries its messages."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, Final

import mcp_types as types
import orjson
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError

from modelhost import json_text, trace_context
from modelhost.client.host_client import SoundClient
from modelhost.disconnect import ClientDisconnected, cancel_on_disconnect
from modelhost.errors import InvalidRequest, ModelhostError, NotFound
from modelhost.exchange.caller import Caller, Face
from modelhost.exchange.tasks import Task
from modelhost.logs import get_logger
from modelhost.mcp_servers.chat_tool import ChatDefaults
from modelhost.mcp_servers.errors import ANSWER_TO_UNKNOWN, MemoryValues, error_result, protocol_error
from modelhost.mcp_servers.faces import FACES, FaceName
from modelhost.mcp_servers.host_tool import CallContext, HostTool, ToolOutcome
from modelhost.mcp_servers.lenient import LISTENING, parse_values
from modelhost.mcp_servers.media_tools import tasks_of
from modelhost.mcp_servers.resources import Resources
from modelhost.mcp_servers.subscriptions import Subscriptions
from modelhost.mcp_servers.tools import make_tools
from modelhost.meters import METERS
from modelhost.operations.llm import VLLM_MCP_DEFAULTS
from modelhost.operations.operation import Progress, ignore_progress, sending_progress
from modelhost.operations.perform import OperationCall
from modelhost.tools.callbacks import DEPTH_META_KEY
from modelhost.tracing import spans
from modelhost.version import __version__
from modelhost.workers.call_depth import DEPTH_HEADER

log = get_logger(__name__)
Context = ServerRequestContext[Any, Any]


ACTOR: Final = "modelhost.actor"
REQUEST_ID: Final = "modelhost.request_id"
LEFT: Final = "modelhost.left"
"""The key in the scope of an HTTP request for the event that its client has disconnected."""
DEPTH_DIGITS: Final = 9  # longer numbers exceed the limit anyway


def find_caller(ctx: Context, door: Face) -> Caller:
    """Return the caller at ``door``, with the id of the HTTP request, or else that of the message."""
    scope = _scope(ctx)
    known = _text(scope.get(REQUEST_ID))
    return Caller(
        key_name=_text(scope.get(ACTOR)) or "",
        face=door,
        request_id=known if known is not None or ctx.request_id is None else str(ctx.request_id),
    )


def call_depth(ctx: Context) -> int:
    """Return how deeply the call is nested in tool calls: a host that is its own tool server must not recurse forever.

    Raises:
        InvalidRequest: the given depth is no number.
    """
    given: Any = (ctx.meta or {}).get(DEPTH_META_KEY)
    if given is None and ctx.request is not None:
        given = ctx.request.headers.get(DEPTH_HEADER)
    if given is None:
        return 0
    text = str(given)[:DEPTH_DIGITS]
    if not text.isdecimal():
        raise InvalidRequest(f"The depth of the call ({DEPTH_HEADER}) has to be a whole number, as the host sent it.")
    return int(text)


def traced(ctx: Context) -> AbstractContextManager[None]:
    """Return what has the call belong to the span that the SDK records of it, or else to the client's trace."""
    if (tracer := spans.tracer()) is not None:
        return tracer.foreign()
    return trace_context.request(trace_context.read(ctx.meta) if ctx.meta else None)


@asynccontextmanager
async def cancel_when_client_leaves(ctx: Context) -> AsyncIterator[None]:
    """Cancel the body, silently, as soon as the client closes the connection.

    Its answer could not be delivered, and answers of interrupted calls are not kept.
    """
    left = _scope(ctx).get(LEFT)
    if left is None:
        yield
        return
    with suppress(ClientDisconnected):
        async with cancel_on_disconnect(left.wait):
            yield


def record_call(call: OperationCall) -> None:
    METERS.mcp_calls.labels(call.operation, call.outcome).inc()
    METERS.mcp_call_seconds.labels(call.operation).observe(call.seconds)
    log.info(
        "mcp_call",
        operation=call.operation,
        model=call.named_model if call.known_model is None else call.known_model,
        outcome=call.outcome,
        face=call.caller.face,
        seconds=round(call.seconds, 4),
    )


def _scope(ctx: Context) -> Mapping[str, Any]:
    scope: Mapping[str, Any] = {} if ctx.request is None else ctx.request.scope
    return scope


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


Extend = Callable[[Server[Any]], None]
"""Extends a finished server by wrapping its handlers."""

READING: Final = "read-resource"
CACHE_HINTS: Final[Mapping[CacheableMethod, CacheHint]] = {
    # Most tools are part of the program; the models and what is saved may change at any time.
    "tools/list": CacheHint(ttl_ms=3_600_000, scope="public"),
    "resources/templates/list": CacheHint(ttl_ms=3_600_000, scope="public"),
    "resources/list": CacheHint(ttl_ms=0, scope="private"),
    "resources/read": CacheHint(ttl_ms=0, scope="private"),
    "server/discover": CacheHint(ttl_ms=3_600_000, scope="public"),
}
CHANGING_TOOLS: Final = CacheHint(ttl_ms=60_000, scope="private")
"""For tools that are listed only where models of the host can do what they do."""
UTILIZATION: Final = 0.9


def build_server(
    face: FaceName,
    backend: SoundClient,
    defaults: ChatDefaults | None = None,
    *,
    door: Face = "mcp-stdio",
    extend: Extend | None = None,
) -> Server[Any]:
    """Return the server ``face``, which answers with ``backend`` on any transport and for any number of clients.

    ``door`` is the way by which calls come in, as the audit log names it.
    """
    # What the SDK logs repeats what clients send, and is known here already.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    shown, resources = FACES[face], Resources(FACES[face].areas, backend)
    tools = make_tools(shown.areas, backend, defaults or ChatDefaults(), reads_files=door == "mcp-stdio")
    answers = _Answers(tools, resources, backend, defaults or ChatDefaults(), door)
    depends, subscriptions = any(tool.task is not None for tool in tools.values()), answers.subscriptions
    server: Server[Any] = (_ChangingServer if depends else Server)(
        shown.server_name,
        version=__version__,
        title=shown.title,
        instructions=shown.instructions,
        cache_hints={**CACHE_HINTS, "tools/list": CHANGING_TOOLS} if depends else CACHE_HINTS,
        get_tool_input_schema=answers.input_schema,
        on_list_tools=answers.list_tools,
        on_call_tool=answers.call_tool,
        on_list_resources=answers.list_resources,
        on_list_resource_templates=answers.list_templates,
        on_read_resource=answers.read_resource,
    )
    if resources.have_changes:
        server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, subscriptions.subscribe)
        server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, subscriptions.unsubscribe)
    if resources.have_changes or depends:
        server.add_request_handler(LISTENING, types.SubscriptionsListenRequestParams, subscriptions.listen)
    server.middleware.append(answer_ping)
    server.middleware.append(in_its_trace)
    if extend is not None:
        extend(server)
    return server


class _ChangingServer(Server[Any]):
    """A server whose list of tools changes, as it tells clients in the handshake."""

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *args: Any, **more: Any
    ) -> InitializationOptions:
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, *args, **more)


async def answer_ping(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Answer ``ping`` in every protocol era: clients use it to check whether a server is alive."""
    if ctx.method != "ping" or ctx.request_id is None:
        return await call_next(ctx)
    return {"resultType": "complete"} if ctx.protocol_version in types.version.MODERN_PROTOCOL_VERSIONS else {}


async def in_its_trace(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Have log lines, and requests to workers, belong to the trace of the message."""
    with traced(ctx):
        return await call_next(ctx)


class _Answers:
    def __init__(
        self,
        tools: Mapping[str, HostTool],
        resources: Resources,
        backend: SoundClient,
        defaults: ChatDefaults,
        door: Face,
    ) -> None:
        self._tools = tools
        self._tasks = frozenset(tool.task for tool in tools.values() if tool.task is not None)
        """Those for which tools are listed only where models can do them."""
        self._resources = resources
        self._backend = backend
        self._defaults = defaults
        self._door: Face = door
        self.subscriptions = Subscriptions(resources, door, self._can if self._tasks else None)

    def input_schema(self, tool: str) -> Mapping[str, Any] | None:
        found = self._tools.get(tool)
        return None if found is None else found.definition.input_schema

    async def list_tools(self, ctx: Context, _asked: Any) -> types.ListToolsResult:
        listed = await self._listed()
        self.subscriptions.follow_tools(ctx)
        return types.ListToolsResult(tools=[tool.definition for tool in listed])

    async def _listed(self) -> list[HostTool]:
        """Return the tools that are listed now. The others can be called too: what fails says why."""
        can = await self._can() if self._tasks else None
        return [tool for tool in self._tools.values() if tool.task is None or tool.task in (can or ())]

    async def _can(self) -> frozenset[Task] | None:
        return await tasks_of(self._backend, self._tasks)

    async def call_tool(self, ctx: Context, request: types.CallToolRequestParams) -> types.CallToolResult:
        tool = self._tools.get(request.name)
        if tool is None:
            names = ", ".join([tool.definition.name for tool in await self._listed()])
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {request.name}. Available: {names}.")
        arguments = parse_values(request.arguments or {}, tool.definition.input_schema)
        call = OperationCall(
            operation=request.name, caller=find_caller(ctx, self._door), kept=tool.kept, values=arguments
        )
        try:
            async with cancel_when_client_leaves(ctx):
                async with self._backend.performing(call):
                    outcome = await self._outcome(ctx, tool, arguments)
                    call.model = outcome.structured.get("model", outcome.structured.get("model_id"))
                return _shown(outcome)
            return _refused(ANSWER_TO_UNKNOWN)  # the client has disconnected
        except ModelhostError as error:
            return _refused(error_result(error, self._memory(arguments), tool=request.name))
        except Exception:
            # A tool that breaks is the caller's to see as such, and ours to find in the log.
            log.exception("mcp_call_failed", operation=request.name)
            return _refused(ANSWER_TO_UNKNOWN)
        finally:
            record_call(call)

    async def _outcome(self, ctx: Context, tool: HostTool, arguments: Mapping[str, Any]) -> ToolOutcome:
        async def tell(count: float, piece: str | None) -> None:
            # Nothing, for a client that has given no token for it.
            await ctx.session.report_progress(count, message=piece)

        telling_client = (
            sending_progress(_Notifications(ctx).send) if tool.reports_progress else nullcontext(ignore_progress)
        )
        async with telling_client as on_progress:
            return await tool.run(arguments, CallContext(depth=call_depth(ctx), tell=tell, on_progress=on_progress))

    async def list_resources(self, _ctx: Context, _asked: Any) -> types.ListResourcesResult:
        try:
            return types.ListResourcesResult(resources=await self._resources.listed())
        except ModelhostError as error:
            raise protocol_error(error) from None

    async def list_templates(self, _ctx: Context, _asked: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=self._resources.templates())

    async def read_resource(self, ctx: Context, request: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(request.uri)
        reading = OperationCall(operation=READING, caller=find_caller(ctx, self._door), kept=dict, values={"uri": uri})
        try:
            async with self._backend.performing(reading):
                found = await self._resources.read(uri)
                if found is None:
                    reading.outcome = NotFound.code
        except ModelhostError as error:
            raise protocol_error(error, uri) from None
        finally:
            record_call(reading)
        if found is None:
            raise MCPError(types.INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        return types.ReadResourceResult(contents=[found])

    def _memory(self, arguments: Mapping[str, Any]) -> MemoryValues:
        defaults = self._defaults
        requested = arguments.get("max_tokens")
        return MemoryValues(
            gpu_memory_utilization=defaults.gpu_memory_utilization or UTILIZATION,
            max_tokens=requested
            if isinstance(requested, int)
            else defaults.max_tokens or int(VLLM_MCP_DEFAULTS["max_tokens"]),
            max_model_len=defaults.max_model_len,
        )


class _Notifications:
    """Sends progress notifications, if the client has given a token for them."""

    def __init__(self, ctx: Context) -> None:
        self._session = ctx.session
        self._sent = 0.0

    async def send(self, progress: Progress) -> None:
        """Send progress. The protocol requires it to increase, so others are dropped."""
        if progress.fraction is not None and progress.fraction > self._sent:
            self._sent = progress.fraction
            await self._session.report_progress(progress.fraction, 1.0, progress.message)


def _shown(outcome: ToolOutcome) -> types.CallToolResult:
    structured = dict(outcome.structured)
    texts = [text for text in (outcome.text, json_text.encode(structured).decode()) if text is not None]
    content = [*outcome.media, *(types.TextContent(type="text", text=text) for text in texts)]
    return types.CallToolResult(content=content, structured_content=structured)


def _refused(error: Mapping[str, Any]) -> types.CallToolResult:
    text = orjson.dumps(error, default=str).decode()
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=orjson.loads(text), is_error=True
    )
