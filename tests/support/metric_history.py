"""The history of metrics in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from modelhost.config.value_types import parse_levels
from modelhost.monitor.history import HistoryRows, StoredFrame, levels_of
from modelhost.monitor.monitor import Monitor

T = TypeVar("T")
LEVELS = "1s/10m,10s/6h,1m/7d,10m/90d"


class MemoryHistory:
    """A store, and its rows."""

    is_open = False
    """What is recorded is not written when a monitor is closed."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int, int, str], bytes] = {}

    async def read(self, work: Callable[[HistoryRows], T]) -> T:
        return work(self)

    async def write(self, work: Callable[[HistoryRows], T]) -> T:
        return work(self)

    def put(self, frames: Sequence[StoredFrame]) -> None:
        self.kept.update({(each.source, each.step, each.start, each.writer): each.content for each in frames})

    def frames(self, *, step: int, start: int, end: int, source: str) -> Sequence[tuple[int, bytes]]:
        found = sorted((key, content) for key, content in self.kept.items() if key[:2] == (source, step))
        return [(key[2], content) for key, content in found if start <= key[2] < end]

    def newest(self, *, step: int, source: str) -> int | None:
        return max((key[2] for key in self.kept if key[:2] == (source, step)), default=None)

    def sources(self) -> Sequence[str]:
        return sorted({key[0] for key in self.kept})

    def purge(self, *, step: int, before: int) -> None:
        self.kept = {key: content for key, content in self.kept.items() if key[1] != step or key[2] >= before}

    def apart(self, work: Callable[[], T]) -> T:
        return work()


def memory_monitor(clock: Callable[[], float] = time.time, *, cache_seconds: float = 0.0) -> Monitor:
    """Return a monitor that keeps its history in memory."""
    levels = levels_of(parse_levels(LEVELS))
    return Monitor(MemoryHistory(), levels, source="host", cache_seconds=cache_seconds, clock=clock)
