"""Where alerts get their values: from the host's counters and gauges, sampled in memory, and distributions of times."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Final, Protocol

from modelhost.config.alerts import METRICS
from modelhost.errors import DatabaseUnavailable
from modelhost.meters import METERS
from modelhost.monitor.cells import HOST
from modelhost.monitor.sketch import Sketch
from modelhost.monitor.windows import Window
from modelhost.series import Counter, Gauge


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuery:
    """A statistic of a metric over the last seconds; names as in :mod:`modelhost.config.alerts`."""

    metric: str
    statistic: str
    window_seconds: float


class MetricSource(Protocol):
    """Answers questions about some metrics."""

    @property
    def metrics(self) -> Collection[str]:
        """The metrics that it has."""

    async def read(self, query: MetricQuery) -> Mapping[str, float]:
        """Return the statistic of one of its metrics by subject.

        A subject is the main name of a model, a pool or GPU (``gpu:0``), or empty: the host as a whole. Subjects of
        which nothing was measured within the window are absent.
        """


Probe = Callable[[], Mapping[str, float]]
"""Returns the present values of a gauge by subject; quick, on the event loop."""
AT_ONCE: Final = 500
"""Values that are read before others have their turn: a fraction of a millisecond."""

MEMORY_REFUSAL: Final = "insufficient_memory"
REFUSALS: Final = frozenset(
    {"queue_full", "queue_timeout", "model_failed", "too_many_connections", "disk_full", MEMORY_REFUSAL}
)
"""Codes of errors that say: the request was fine, there is no place for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """Where the value of a metric comes from: the sum of a meter's samples with one of ``codes``, by model."""

    meter: Counter | Gauge
    codes: frozenset[str] | None = None
    is_of_host: bool = False

    def values(self) -> Iterator[tuple[str, float]]:
        """Yield parts of the value of each subject, as they are when they are yielded.

        The library's own `collect` takes a quarter of a second for a thousand models.
        """
        if not self.meter._labelnames:
            yield HOST, self.meter._value.get()
            return
        names = list(self.meter._labelnames)
        model = None if self.is_of_host else names.index("model")
        code = None if self.codes is None else names.index("code")
        children: list[tuple[Sequence[str], Any]] = list(self.meter._metrics.items())
        for labels, child in children:
            if code is None or self.codes is None or labels[code] in self.codes:
                yield HOST if model is None else labels[model], child._value.get()


_METERS: Final[Mapping[str, _Counted]] = {
    "requests": _Counted(meter=METERS.requests),
    "errors": _Counted(meter=METERS.errors),
    "refusals": _Counted(meter=METERS.errors, codes=REFUSALS),
    "memory_refusals": _Counted(meter=METERS.errors, codes=frozenset({MEMORY_REFUSAL})),
    "cancelled": _Counted(meter=METERS.cancelled),
    "tokens_in": _Counted(meter=METERS.tokens_in),
    "tokens_out": _Counted(meter=METERS.tokens_out),
    "loads": _Counted(meter=METERS.loads),
    "evictions": _Counted(meter=METERS.evictions),
    "worker_exits": _Counted(meter=METERS.worker_exits),
    "audit_entries_lost": _Counted(meter=METERS.audit_entries_lost, is_of_host=True),
    "background_faults": _Counted(meter=METERS.background_faults, is_of_host=True),
    "queue_length": _Counted(meter=METERS.queue_length),
    "requests_in_flight": _Counted(meter=METERS.in_flight),
}
_SHARES: Final[Mapping[str, tuple[str, str]]] = {
    "error_share": ("errors", "requests"),
    "refusal_share": ("refusals", "requests"),
}


@dataclass(slots=True)
class _Series:
    """The samples of one subject, the oldest first; of a counter only those at which it had changed."""

    times: deque[float] = field(default_factory=deque)
    values: deque[float] = field(default_factory=deque)

    def add(self, now: float, value: float, *, only_changes: bool) -> None:
        if not only_changes or not self.values or self.values[-1] != value:
            self.times.append(now)
            self.values.append(value)

    def forget(self, before: float) -> None:
        """Forget samples older than ``before``, but keep one: it still holds at that time."""
        while len(self.times) > 1 and self.times[1] <= before:
            self.times.popleft()
            self.values.popleft()

    def increase(self, since: float) -> float:
        at = bisect_right(self.times, since) - 1
        return self.values[-1] - self.values[max(at, 0)]

    def within(self, since: float) -> list[float]:
        return [value for time, value in zip(self.times, self.values, strict=True) if time > since]


class CountedMetrics:
    """A :class:`modelhost.monitor.alerts.source.MetricSource`. :meth:`sample` has to be called at regular times."""

    def __init__(self, windows: Mapping[str, float], probes: Mapping[str, Probe]) -> None:
        """Keep what is needed for ``windows``: the longest window by metric. ``probes`` are gauges by metric."""
        self._probes = probes
        self._windows: dict[str, float] = {}
        self._series: dict[str, dict[str, _Series]] = {}
        self._sampled: set[str] = set()
        """The metrics that were read before."""
        self._now: float | None = None
        self.watch(windows)

    def watch(self, windows: Mapping[str, float]) -> None:
        """Keep what is needed for ``windows`` from the next sample on; not to be called during one."""
        self._windows = {}
        for metric, seconds in windows.items():
            for needed in _SHARES.get(metric, (metric,)):
                if needed in self._readable:
                    self._windows[needed] = max(seconds, self._windows.get(needed, 0.0))
        self._series = {metric: self._series.get(metric, {}) for metric in self._windows}
        self._sampled &= self._windows.keys()

    @property
    def _readable(self) -> Collection[str]:
        return _METERS.keys() | self._probes.keys()

    @property
    def metrics(self) -> Collection[str]:
        return self._readable | _SHARES.keys()

    async def sample(self, now: float) -> None:
        """Read the values of now, a time in seconds that never goes back; others have their turn meanwhile."""
        for metric, seconds in self._windows.items():
            values = await self._values(metric)
            series = self._series[metric]
            is_counter = METRICS[metric][0] == "counter"
            for at, (subject, value) in enumerate(values.items()):
                if subject not in series:
                    series[subject] = _Series()
                    # It was not counted before: then it was 0.
                    if is_counter and metric in self._sampled and self._now is not None:
                        series[subject].add(self._now, 0.0, only_changes=True)
                series[subject].add(now, value, only_changes=is_counter)
                series[subject].forget(now - seconds)
                if at % AT_ONCE == 0:
                    await asyncio.sleep(0)
            if not is_counter:
                for subject in series.keys() - values.keys():  # such as a removed model
                    del series[subject]
            self._sampled.add(metric)
        self._now = now

    async def _values(self, metric: str) -> Mapping[str, float]:
        if metric in self._probes:
            return self._probes[metric]()
        counted = _METERS[metric]
        found: dict[str, float] = {HOST: 0.0} if counted.is_of_host else {}
        for at, (subject, value) in enumerate(counted.values()):
            found[subject] = found.get(subject, 0.0) + value
            if at % AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def read(self, query: MetricQuery) -> Mapping[str, float]:
        """Return the statistic as of the latest sample."""
        if query.metric in _SHARES:
            part, whole = (self._increases(metric, query.window_seconds) for metric in _SHARES[query.metric])
            return {subject: min(1.0, part.get(subject, 0.0) / count) for subject, count in whole.items() if count > 0}
        if METRICS[query.metric][0] == "counter":
            per = query.window_seconds if query.statistic == "rate" else 1.0
            return {name: value / per for name, value in self._increases(query.metric, query.window_seconds).items()}
        since = (self._now or 0.0) - query.window_seconds
        samples = {subject: series.within(since) for subject, series in self._series[query.metric].items()}
        return {subject: _statistic(query.statistic, values) for subject, values in samples.items() if values}

    def _increases(self, metric: str, window_seconds: float) -> dict[str, float]:
        since = (self._now or 0.0) - window_seconds
        return {subject: series.increase(since) for subject, series in self._series[metric].items()}


def _statistic(name: str, values: Sequence[float]) -> float:
    match name:
        case "last":
            return values[-1]
        case "min":
            return min(values)
        case "max":
            return max(values)
    return fmean(values)


SKETCHES: Final[Mapping[str, str]] = {"time_to_first_token_seconds": "first_token", "latency_seconds": "latency"}
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
        values = {name: _of_sketch(query.statistic, sketch) for name, sketch in sketches.items()}
        return {name: value for name, value in values.items() if value is not None}


def _of_sketch(name: str, sketch: Sketch) -> float | None:
    return sketch.mean if name == "mean" else sketch.quantile(int(name.removeprefix("p")) / 100)
