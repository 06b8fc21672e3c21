"""A receiver of OTLP over HTTP: the spans that a host exports, as trees."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.eventually import eventually

QUICK: Final = {"OTEL_BSP_SCHEDULE_DELAY": "20"}
"""Has a host export its spans soon, by the standard variable in milliseconds."""
ERROR: Final = 2
KINDS: Final = {1: "internal", 2: "server", 3: "client"}
Tree = tuple[str, list[Any]]
"""The name of a span, and the trees of its children by their start."""


@dataclass(frozen=True, kw_only=True)
class ReceivedSpan:
    """A span as it was received."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    is_error: bool
    message: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    events: int


@dataclass(frozen=True)
class ClientTrace:
    """The trace of a client: its headers, and what they say."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def fields(self) -> dict[str, str]:
        return {"traceparent": f"00-{self.trace_id}-{self.span_id}-01"}


class TraceReceiver:
    """What has been received so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []

    @property
    def spans(self) -> list[ReceivedSpan]:
        return [span for body in list(self.bodies) for span in _spans(body)]

    def of(self, trace: ClientTrace, count: int) -> list[ReceivedSpan]:
        """Return the spans of a trace in the order of their start, once there are ``count``."""
        eventually(lambda: len(self._found(trace)) >= count)
        found = self._found(trace)
        assert len(found) == count, [span.name for span in found]
        return found

    def tree(self, trace: ClientTrace, count: int) -> list[Tree]:
        """Return the trees of the ``count`` spans whose parent is the client's."""
        found = self.of(trace, count)

        def below(parent: str) -> list[Tree]:
            return [(span.name, below(span.span_id)) for span in found if span.parent_id == parent]

        return below(trace.span_id)

    def _found(self, trace: ClientTrace) -> list[ReceivedSpan]:
        return sorted((span for span in self.spans if span.trace_id == trace.trace_id), key=lambda span: span.start)


@contextmanager
def trace_receiver(status: int = 200) -> Iterator[TraceReceiver]:
    """Receive spans as long as the context is entered, and answer with ``status``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                receiver.bodies.append(body)
            self.send_response(status if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        receiver = TraceReceiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def _spans(body: bytes) -> Iterator[ReceivedSpan]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _values(group.resource.attributes)
        for span in (span for scope in group.scope_spans for span in scope.spans):
            yield ReceivedSpan(
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                name=span.name,
                kind=KINDS.get(span.kind, "other"),
                start=span.start_time_unix_nano,
                end=span.end_time_unix_nano,
                is_error=span.status.code == ERROR,
                message=span.status.message,
                attributes=_values(span.attributes),
                resource=resource,
                events=len(span.events),
            )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
