"""The trace of an HTTP request: the span of the host's part in it, or only the client's, for log lines and workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from starlette.types import Message, Scope, Send

from modelhost import trace_context
from modelhost.http.exchange import CLIENT_DISCONNECTED_STATUS
from modelhost.trace_context import TRACEPARENT
from modelhost.tracing import spans
from modelhost.tracing.spans import CANCELLED, Attributes, Span

SPAN: Final = "modelhost.span"
"""In the scope: the span of the request; absent without one."""
CODES: Final = "modelhost.span_codes"
"""In the scope beside it: the codes of errors noted before the answer begins."""
WITHOUT_SPANS: Final = frozenset({"/health", "/ready", "/version", "/metrics"})
"""What probes ask for every few seconds; their requests have a span if the client has begun a trace."""
HEADER: Final = TRACEPARENT.encode()
FAULT: Final = 500

Headers = Mapping[bytes, bytes]


def is_traced(headers: Headers) -> bool:
    """Whether a request with these headers belongs to a trace, or may begin one."""
    return spans.tracer() is not None or HEADER in headers


async def traced(scope: Scope, send: Send, headers: Headers, answer: Callable[[Send], Awaitable[None]]) -> None:
    """Have ``answer`` answer the request within its trace."""
    tracer, given = spans.tracer(), trace_context.read_headers(headers)
    if tracer is None or (given is None and scope["path"] in WITHOUT_SPANS):
        with trace_context.request(given):
            await answer(send)
        return
    with tracer.request(scope["method"], _attributes(scope, headers), kind="server", parent=given) as span:
        codes: list[str] = []
        scope[SPAN], scope[CODES] = span, codes

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                span.set({"http.response.status_code": status})
                if status >= FAULT and not codes:
                    span.fail(str(status))  # a code of the host is more precise: it is here already, or comes later
            await send(message)

        await answer(noting)


def traced_socket(headers: Headers) -> AbstractContextManager[None]:
    """Return what has the requests of a WebSocket belong to the trace of its handshake, to be entered."""
    tracer, given = spans.tracer(), trace_context.read_headers(headers)
    if given is None:
        return nullcontext()
    return trace_context.request(given) if tracer is None else tracer.under(given)


def name_route(scope: Scope, *, is_direct: bool) -> None:
    """Name the span of a request by its route, once it is answered."""
    span: Span | None = scope.get(SPAN)
    if span is None:
        return
    route = scope["path"] if is_direct else _route(scope)
    if route is not None:
        span.rename(f"{scope['method']} {route}")
        span.set({"http.route": route})


def note_outcome(scope: Scope, *, operation: str, model: str, status: int, code: str | None) -> None:
    """Note what became of a request that a door has answered; an error may come behind a status of 200."""
    span: Span | None = scope.get(SPAN)
    if span is None:
        return
    span.set({"modelhost.operation": operation, **({"modelhost.model": model} if model else {})})
    if status == CLIENT_DISCONNECTED_STATUS:
        span.fail(CANCELLED, is_fault=False)
    elif code is not None:
        span.fail(code, is_fault=status >= FAULT)


def note_refusal(scope: Scope, *, status: int, code: str) -> None:
    """Note the error that answers a request of no operation, or before one; to be called before it is sent."""
    span: Span | None = scope.get(SPAN)
    if span is not None:
        scope[CODES].append(code)
        span.fail(code, is_fault=status >= FAULT)


def _attributes(scope: Scope, headers: Headers) -> Attributes:
    attributes: dict[str, spans.Value] = {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
    }
    if (agent := headers.get(b"user-agent")) is not None:
        attributes["user_agent.original"] = agent.decode("latin-1")
    if (server := scope.get("server")) is not None:
        attributes |= {"server.address": server[0], "server.port": server[1] or 0}
    return attributes


def _route(scope: Scope) -> str | None:
    """Return the path with the names of its parameters in the place of their values; ``None`` if nothing is there."""
    if "endpoint" not in scope:
        return None
    path: str = scope["path"]
    for name, value in reversed(scope.get("path_params", {}).items()):
        before, found, after = path.rpartition(str(value))
        path = f"{before}{{{name}}}{after}" if found else path
    return path
