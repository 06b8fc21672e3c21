"""Monitors on both databases, with a clock that a test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from modelhost.config.databases import parse_database_url
from modelhost.config.value_types import parse_levels
from modelhost.monitor.history import levels_of
from modelhost.monitor.measure import RequestMeasure
from modelhost.monitor.monitor import Monitor
from modelhost.state.history.database import HistoryDatabase
from modelhost.state.history.metrics import MetricStore
from modelhost.state.lazy_database import LazyDatabase

LEVELS = "1s/10m,10s/6h,1m/7d,10m/90d"
BEGINNING = 1_767_225_600.0


class Clock:
    """Seconds since 1970, as a test sets them."""

    def __init__(self) -> None:
        self.now = BEGINNING

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


MakeMonitor = Callable[..., Monitor]


@pytest.fixture
async def make_monitor(database_url: str, clock: Clock, tmp_path: Path) -> AsyncIterator[MakeMonitor]:
    """Makes monitors of one database: ``make_monitor(source)``; nothing is written but by ``flush``."""
    async with AsyncExitStack() as opened:

        def make(source: str = "host", levels: str = LEVELS) -> Monitor:
            whole = LazyDatabase(parse_database_url(database_url))
            opened.push_async_callback(whole.close)
            database = HistoryDatabase(whole)
            opened.push_async_callback(database.close)
            monitor = Monitor(
                MetricStore(database, tmp_path), levels_of(parse_levels(levels)), source=source, clock=clock
            )
            opened.push_async_callback(monitor.close)
            return monitor

        yield make


def record(
    monitor: Monitor, model: str = "small", *, seconds: float = 0.5, tokens: int = 10, code: str | None = None
) -> None:
    """Record a request that had one turn."""
    request = RequestMeasure(monitor)
    if code is None:
        request.turns, request.tokens_in, request.tokens_out = 1, 5, tokens
        request.first_token_seconds = seconds / 2
    monitor.record(request, model=model, seconds=seconds, code=code)
