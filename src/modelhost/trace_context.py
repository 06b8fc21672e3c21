"""The trace that the running code belongs to, as W3C's Trace Context names it (https://www.w3.org/TR/trace-context/).

It comes from a client, with or without the export of traces, and is passed on to workers and in log lines. This module
knows nothing of OpenTelemetry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
LONGEST_STATE: Final = 512
"""Characters of ``tracestate`` that have to be passed on; a longer one is left out."""
# A later version may have more fields behind those of version 00.
_TRACEPARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE: Final = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """A span, here or at the client."""

    trace_id: str
    span_id: str
    flags: str
    state: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The fields that pass it on."""
        fields = {TRACEPARENT: f"00-{self.trace_id}-{self.span_id}-{self.flags}"}
        return {**fields, TRACESTATE: self.state} if self.state else fields


class _Request:
    """One request, which may be over while tasks that it started go on."""

    __slots__ = ("is_over",)

    def __init__(self) -> None:
        self.is_over = False


@dataclass(frozen=True, slots=True)
class _Place:
    context: TraceContext
    request: _Request


_CURRENT: Final[ContextVar[_Place | None]] = ContextVar("modelhost_trace", default=None)


def read(fields: Mapping[str, object]) -> TraceContext | None:
    """Return the context in ``fields``; ``None`` if there is none, or an invalid one."""
    given, state = fields.get(TRACEPARENT), fields.get(TRACESTATE)
    found = _TRACEPARENT.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if not int(trace_id, 16) or not int(span_id, 16) or (version == "00" and more):
        return None
    is_usable = isinstance(state, str) and len(state) <= LONGEST_STATE and _STATE.fullmatch(state)
    return TraceContext(trace_id=trace_id, span_id=span_id, flags=flags, state=str(state) if is_usable else "")


def read_headers(headers: Mapping[bytes, bytes]) -> TraceContext | None:
    """As :func:`read`, from the headers of an HTTP request."""
    names = (TRACEPARENT, TRACESTATE)
    return read({name: headers[name.encode()].decode("latin-1") for name in names if name.encode() in headers})


def current() -> TraceContext | None:
    """Return the span that the running code works in; ``None`` outside a traced request, and after its end."""
    place = _CURRENT.get()
    return None if place is None or place.request.is_over else place.context


def header_lines() -> bytes:
    """Return the lines that pass the current context on in the head of an HTTP request; empty without one."""
    context = current()
    if context is None:
        return b""
    return "".join(f"{name}: {value}\r\n" for name, value in context.fields.items()).encode()


@contextmanager
def request(context: TraceContext | None) -> Iterator[None]:
    """Have ``context`` as the current one; at the end, also tasks that were started here are in no request any more."""
    if context is None:
        yield
        return
    begun, outer = _Request(), _CURRENT.get()
    _CURRENT.set(_Place(context, begun))
    try:
        yield
    finally:
        begun.is_over = True
        _CURRENT.set(outer)


@contextmanager
def part(context: TraceContext) -> Iterator[None]:
    """Have ``context``, a span of the current request, as the current one."""
    outer = _CURRENT.get()
    _CURRENT.set(_Place(context, _Request() if outer is None else outer.request))
    try:
        yield
    finally:
        _CURRENT.set(outer)
