"""Percentiles of times as a source for alerts, from the sketches that the monitor keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from modelhost.errors import DatabaseUnavailable
from modelhost.monitor.alerts.source import MetricQuery
from modelhost.monitor.cells import HOST
from modelhost.monitor.monitor import Window
from modelhost.monitor.sketch import Sketch

SKETCHES: Final[Mapping[str, str]] = MappingProxyType(
    {"time_to_first_token_seconds": "first_token", "latency_seconds": "latency"}
)
"""The monitor's name of each metric."""
READINGS: Final = 10
"""In the time of a short window: a reading looks at each second of it."""
LONGEST_SECONDS: Final = 30.0
"""Between two readings of a long window."""


class WindowReader(Protocol):
    """What the monitor has recorded."""

    @property
    def last_recorded_at(self) -> float | None:
        """When something was recorded last, in seconds since 1970; ``None``: never."""

    async def window(self, seconds: int, *, source: str | None = None) -> Window:
        """Return what ``source`` has recorded in the last ``seconds``; raises DatabaseUnavailable."""


class Distributions:
    """A :class:`modelhost.monitor.alerts.source.MetricSource`. It reads nothing while nothing was recorded."""

    def __init__(self, monitor: WindowReader, *, source: str, clock: Callable[[], float] = time.time) -> None:
        """``source`` names this host among those that share the database."""
        self._monitor = monitor
        self._source = source
        self._clock = clock
        self._read: dict[int, tuple[float, Mapping[str, Mapping[str, Sketch]]]] = {}
        """By the length of the window: when it was read last, and the sketches of each model."""

    @property
    def metrics(self) -> Collection[str]:
        return SKETCHES.keys()

    async def read(self, query: MetricQuery) -> Mapping[str, float]:
        """Return the statistic by model, up to 30 s old; the latest known if the database fails."""
        seconds, now = int(query.window_seconds), self._clock()
        recorded_at = self._monitor.last_recorded_at
        if recorded_at is None or now - recorded_at > seconds:
            self._read.pop(seconds, None)
            return {}
        read_at, models = self._read.get(seconds, (None, {}))
        if read_at is None or now - read_at >= min(seconds / READINGS, LONGEST_SECONDS):
            try:
                window = await self._monitor.window(seconds, source=self._source)
                models = {name: cell.sketches for name, cell in window.frame.items() if name != HOST}
            except DatabaseUnavailable:  # the monitor logs it; an alert must not be resolved by that
                pass
            self._read[seconds] = (now, models)
        sketches = {
            name: each[SKETCHES[query.metric]] for name, each in models.items() if SKETCHES[query.metric] in each
        }
        values = {name: _statistic(query.statistic, sketch) for name, sketch in sketches.items()}
        return {name: value for name, value in values.items() if value is not None}


def _statistic(name: str, sketch: Sketch) -> float | None:
    return sketch.mean if name == "mean" else sketch.quantile(int(name.removeprefix("p")) / 100)
