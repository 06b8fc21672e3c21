"""Spans of requests: what records them, if anything does. Nothing of OpenTelemetry is imported here.

Each place that has something to record looks once per request whether :func:`tracer` is there, and never per token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

from modelhost import trace_context
from modelhost.trace_context import TraceContext

T = TypeVar("T")
Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
Kind = Literal["internal", "server", "client"]

ERROR_TYPE: Final = "error.type"
CANCELLED: Final = "cancelled"
"""The ``error.type`` of what ended because its client left: no error of the host, so the status stays unset."""


class Span(Protocol):
    """A span that has begun."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def rename(self, name: str) -> None: ...

    def fail(self, code: str, *, is_fault: bool = True) -> None:
        """Note an error; without ``is_fault`` it is the caller's, and the status stays unset."""


OpenSpan = AbstractContextManager[Span]
MaybeSpan = AbstractContextManager[Span | None]
OFF: Final[MaybeSpan] = nullcontext(None)


class Tracer(Protocol):
    """Records spans."""

    @property
    def records_content(self) -> bool:
        """Whether messages, arguments and results may be attributes."""

    def request(self, name: str, attributes: Attributes, *, kind: Kind, parent: TraceContext | None) -> OpenSpan:
        """Return the first span here of a request, to be entered; ``parent`` is the client's."""

    def span(self, name: str, attributes: Attributes, *, kind: Kind = "internal") -> OpenSpan:
        """Return a span within the current one, to be entered. An error that leaves it is noted by its code."""

    def past(self, name: str, attributes: Attributes, *, seconds: float = 0.0, ended_ago: float = 0.0) -> None:
        """Record a span within the current one that took ``seconds`` and ended ``ended_ago`` seconds ago."""

    def foreign(self) -> AbstractContextManager[None]:
        """Return what makes a span of another library that of a request, to be entered inside it."""

    def under(self, parent: TraceContext) -> AbstractContextManager[None]:
        """Return what has requests of this process belong to a client's span, to be entered."""

    def resumer(self) -> Callable[[], AbstractContextManager[None]]:
        """As the function of that name."""


@dataclass(slots=True)
class _InUse:
    tracer: Tracer | None = None


_IN_USE: Final = _InUse()


def tracer() -> Tracer | None:
    """Return what records spans; ``None`` as long as traces are not exported."""
    return _IN_USE.tracer


def use(tracer: Tracer | None) -> None:
    _IN_USE.tracer = tracer


def request() -> MaybeSpan:
    """Return the span of a request that comes from no door, to be entered; none within another request."""
    tracer = _IN_USE.tracer
    if tracer is None or trace_context.current() is not None:
        return OFF
    return tracer.request("request", {}, kind="internal", parent=None)


async def apart(work: Callable[[], Awaitable[T]]) -> T:
    """Await what ``work`` returns, as a request of its own that may outlive the present one, in the same trace."""
    tracer = _IN_USE.tracer
    own: AbstractContextManager[object] = trace_context.request(trace_context.current())
    if tracer is not None:
        own = tracer.request("request", {}, kind="internal", parent=None)
    with own:
        return await work()


def resumer() -> Callable[[], AbstractContextManager[None]]:
    """Return what makes the present span the current one in another task, each time it is called and entered."""
    tracer = _IN_USE.tracer
    return nullcontext if tracer is None else tracer.resumer()


def within_request(opened: AbstractAsyncContextManager[T]) -> AbstractAsyncContextManager[T]:
    """Return ``opened`` within the span of :func:`request`."""
    span = request()
    return opened if span is OFF else _within(span, opened)


@asynccontextmanager
async def _within(span: MaybeSpan, opened: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    with span:
        async with opened as answer:
            yield answer
