"""Records requests that no door measures: those from Python, and from MCP servers that ask for an answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from modelhost.errors import HostFault, ModelhostError
from modelhost.monitor import measure

if TYPE_CHECKING:
    from modelhost.monitor.monitor import Monitor

T = TypeVar("T")


class recording:  # noqa: N801 (used like a function made by contextlib)
    """Record what is inside as one request, unless it is a part of one already.

    ``label`` returns the main name of the model, or an empty text, of a request that had no turn.
    """

    __slots__ = ("_label", "_measure", "_monitor")

    def __init__(self, monitor: Monitor, label: Callable[[], str]) -> None:
        self._monitor = monitor
        self._label = label
        self._measure: measure.RequestMeasure | None = None

    def __enter__(self) -> None:
        if measure.current() is None:
            self._measure = measure.begin(self._monitor)

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if (done := self._measure) is None:
            return
        measure.end()
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
    return opened if measure.current() is not None else _recorded(monitor, opened, label)


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
