"""Background work in rounds, of which one that fails must not end the following ones, and the time of the next one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from modelhost.logs import get_logger
from modelhost.meters import METERS

log = get_logger(__name__)

SECONDS_TO_REPAIR: Final = 5.0
"""After which failed work without rounds, such as watching a file, is restarted."""


@dataclass(slots=True)
class RoundResult:
    """The outcome of a round."""

    fault: Exception | None = None


@contextmanager
def log_failures(task: str, **about: Any) -> Iterator[RoundResult]:
    """Log and count exceptions of a round of ``task``, with ``about``, instead of raising them.

    For faults of the host itself, such as running out of file descriptors. Expected errors are handled where they
    occur.
    """
    this = RoundResult()
    try:
        yield this
    except Exception as fault:
        this.fault = fault
        log.exception("background_fault", task=task, **about)
        METERS.background_faults.labels(task).inc()


async def cancel_and_wait(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel ``tasks``, as far as there are any, and return when they have ended."""
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)


async def repeat(task: str, work: Callable[[], Awaitable[object]], *, pause_seconds: float) -> NoReturn:
    """Do ``work`` again and again, after a pause each time; a failure is logged as one of ``task``."""
    while True:
        await asyncio.sleep(pause_seconds)
        with log_failures(task):
            await work()


class Alarm:
    """Calls ``action`` once at the time that is set, in seconds of the running event loop."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, when: float) -> None:
        """Set the time, unless an earlier one is set: an action too early has to do no harm. Infinite: never."""
        if self._timer is not None and self._loop.time() < self._timer.when() <= when:
            return
        self.cancel()
        if when < math.inf:
            self._timer = self._loop.call_at(when, self._call)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _call(self) -> None:
        self._timer = None
        self._action()
