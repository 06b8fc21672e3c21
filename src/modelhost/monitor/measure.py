"""What one request is measured with, from its arrival to its last byte, by whoever works on it; and its record.

The door, or the host for calls from Python, begins it; the turns of the model, the queue and the tool loop add to it
through the context, in which tasks of the request run, too. Times are seconds of :func:`time.perf_counter`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from msgspec import Struct, field

from modelhost.errors import HostFault, ModelhostError

if TYPE_CHECKING:
    from modelhost.monitor.monitor import Monitor


class Turn(Protocol):
    """What is known of a turn of a model that has ended."""

    @property
    def first_at(self) -> float | None: ...

    @property
    def last_at(self) -> float | None: ...

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """In OpenAI's shape."""

    @property
    def written_tokens(self) -> int:
        """Without usage: the generated tokens, as far as they are known."""

    @property
    def besides(self) -> Mapping[str, Any]:
        """What the engine sent together with the usage."""


class RequestMeasure(Struct, eq=False):
    """One request; its numbers are sums over its turns."""

    workload: Monitor
    """Counts the turns at work."""
    began: float = field(default_factory=time.perf_counter)
    model: str = ""
    """The main name of the model of its turns."""
    turns: int = 0
    first_token_seconds: float | None = None
    """From its arrival to the first piece of its answer."""
    between_tokens_seconds: list[float] = field(default_factory=list)
    """Of each turn with two tokens or more the mean time between them."""
    queue_seconds: float = 0.0
    was_queued: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_counted: int = 0
    """Of those, how many the workload has counted already."""
    tokens_cached: int = 0
    drafted: int = 0
    """Tokens that a draft model proposed, where the engine reports it, and those of them that were accepted."""
    accepted: int = 0
    tool_calls: int = 0
    tool_seconds: float = 0.0

    def add_turn(self, turn: Turn) -> None:
        self.turns += 1
        first_at, last_at, usage = turn.first_at, turn.last_at, turn.usage
        if first_at is not None and self.first_token_seconds is None:
            self.first_token_seconds = first_at - self.began
        if not usage:
            self.tokens_out += turn.written_tokens
            return
        self.add_usage(usage)
        tokens = usage.get("completion_tokens") or 0
        if first_at is not None and last_at is not None and tokens > 1:
            self.between_tokens_seconds.append((last_at - first_at) / (tokens - 1))
        drafted, accepted = _drafts(usage, turn.besides)
        self.drafted += drafted
        self.accepted += accepted

    def add_usage(self, usage: Mapping[str, Any]) -> None:
        self.tokens_in += usage.get("prompt_tokens") or 0
        self.tokens_out += usage.get("completion_tokens") or 0
        self.tokens_cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


class RunningTurn(Struct, eq=False):
    """A turn at work."""

    request: RequestMeasure
    model: str
    written: Callable[[], int]
    """Returns how many tokens it has generated so far."""
    counted: int = 0
    """How many of them are counted already."""


def _drafts(usage: Mapping[str, Any], besides: Mapping[str, Any]) -> tuple[int, int]:
    """Return the drafted tokens and the accepted ones: llama.cpp has them in its timings, others in OpenAI's usage."""
    timings = besides.get("timings")
    if timings and isinstance(timings, Mapping) and timings.get("draft_n"):
        return int(timings["draft_n"]), int(timings.get("draft_n_accepted") or 0)
    details = usage.get("completion_tokens_details") or {}
    accepted = details.get("accepted_prediction_tokens") or 0
    return accepted + (details.get("rejected_prediction_tokens") or 0), accepted


_CURRENT: Final[ContextVar[RequestMeasure | None]] = ContextVar("modelhost.request_measure", default=None)


def current() -> RequestMeasure | None:
    """Return the measure of the request that is worked on here."""
    return _CURRENT.get()


def begin(workload: Monitor) -> RequestMeasure:
    """Return a new measure, which is the current one from now on in this task and those that it starts."""
    measure = RequestMeasure(workload)
    _CURRENT.set(measure)
    return measure


def end() -> None:
    """Have no current measure: what follows in this task belongs to no request, or to another one."""
    _CURRENT.set(None)


def turn_began(model: str, now: float, written: Callable[[], int]) -> RunningTurn | None:
    """Note that a turn of ``model`` is at work; ``written`` returns how many tokens it has generated."""
    if (measure := _CURRENT.get()) is None:
        return None
    measure.model = model
    measure.workload.turn_began(model, now)
    turn = RunningTurn(measure, model, written)
    measure.workload.follow(turn)
    return turn


def seconds_to(first_at: float | None) -> float | None:
    """Return the time to the first piece of the answer, if that came at ``first_at``, and not in an earlier turn."""
    measure = _CURRENT.get()
    if measure is None or first_at is None or measure.first_token_seconds is not None:
        return None
    return first_at - measure.began


def turn_ended(running: RunningTurn | None, now: float, turn: Turn) -> None:
    """Note that what :func:`turn_began` returned is not at work any more."""
    if running is not None:
        request, before = running.request, running.request.tokens_out
        request.workload.turn_ended(running.model, now)
        try:
            request.add_turn(turn)
        finally:
            request.workload.stop_following(running, request.tokens_out - before)


def answered_by(model: str) -> None:
    """Note which model answers a request that has no turns and no usage in tokens."""
    if (measure := _CURRENT.get()) is not None:
        measure.model = model


def add_usage(model: str, usage: Mapping[str, Any] | None) -> None:
    if (measure := _CURRENT.get()) is not None:
        measure.model = model
        measure.add_usage(usage or {})


def waited(seconds: float) -> None:
    """Note that the request waited for its turn."""
    if (measure := _CURRENT.get()) is not None:
        measure.queue_seconds += seconds
        measure.was_queued = True


def tool_called(seconds: float) -> None:
    """Note a call of a tool of the host, which took ``seconds``."""
    if (measure := _CURRENT.get()) is not None:
        measure.tool_calls += 1
        measure.tool_seconds += seconds


T = TypeVar("T")


class recording:  # noqa: N801 (used like a function made by contextlib)
    """Record what is inside as one request, unless it is a part of one already.

    ``label`` returns the main name of the model, or an empty text, of a request that had no turn.
    """

    __slots__ = ("_label", "_measure", "_monitor")

    def __init__(self, monitor: Monitor, label: Callable[[], str]) -> None:
        self._monitor = monitor
        self._label = label
        self._measure: RequestMeasure | None = None

    def __enter__(self) -> None:
        if current() is None:
            self._measure = begin(self._monitor)

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if (done := self._measure) is None:
            return
        end()
        self._monitor.record(
            done,
            model=done.model or self._label(),
            seconds=time.perf_counter() - done.began,
            code=_code_of(error),
            is_cancelled=error is not None and not isinstance(error, Exception),
        )


def recorded(
    monitor: Monitor, opened: AbstractAsyncContextManager[T], label: Callable[[], str]
) -> AbstractAsyncContextManager[T]:
    """Return ``opened``, recorded as one request like :class:`recording`."""
    return opened if current() is not None else _recorded(monitor, opened, label)


@asynccontextmanager
async def _recorded(
    monitor: Monitor, opened: AbstractAsyncContextManager[T], label: Callable[[], str]
) -> AsyncIterator[T]:
    with recording(monitor, label):
        async with opened as answer:
            yield answer


def _code_of(error: BaseException | None) -> str | None:
    if isinstance(error, ModelhostError):
        return error.code
    return HostFault.code if isinstance(error, Exception) else None
