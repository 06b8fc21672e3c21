"""The caller of an MCP call as the transport knows it: identity, call depth, and whether it is still connected."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Any, Final

from mcp.server.context import ServerRequestContext

from modelhost import trace_context
from modelhost.disconnect import ClientDisconnected, cancel_on_disconnect
from modelhost.errors import InvalidRequest
from modelhost.exchange.caller import Caller, Face
from modelhost.logs import get_logger
from modelhost.meters import METERS
from modelhost.operations.perform import OperationCall
from modelhost.tools.attempts import DEPTH_META_KEY
from modelhost.tracing import spans
from modelhost.workers.call_depth import DEPTH_HEADER

log = get_logger(__name__)

ACTOR: Final = "modelhost.actor"
REQUEST_ID: Final = "modelhost.request_id"
LEFT: Final = "modelhost.left"
"""The key in the scope of an HTTP request for the event that its client has disconnected."""
DEPTH_DIGITS: Final = 9  # longer numbers exceed the limit anyway

Context = ServerRequestContext[Any, Any]


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
    """Count and log a finished call."""
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
