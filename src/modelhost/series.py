"""Counters, gauges and histograms of Prometheus' library whose series say when they have changed.

What is made of a series, such as its lines in ``/metrics``, need not be made again before that. A request changes a
dozen of them, so they are changed without what the library checks each time: that a series has its labels, above all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, count
from typing import Final, Protocol, cast

import prometheus_client
from prometheus_client.samples import Sample

_CHANGES: Final = count(1)


class Series(Protocol):
    """The values of a metric for certain labels."""

    @property
    def change(self) -> int:
        """A greater number after each change than any series had before."""

    def values(self) -> Sequence[float]:
        """Return the values, in the order of the samples."""

    def created(self) -> float:
        """Return when it was created, in seconds since 1970, if it has a sample of that."""

    def _child_samples(self) -> Iterable[Sample]:
        """Return the samples, without the labels of the series."""


class Counter(prometheus_client.Counter):
    """The library's counter, each series of it a :class:`Series`."""

    change: int = 0

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        """Add ``amount``."""
        if amount < 0 or exemplar is not None:
            super().inc(amount, exemplar)
        else:
            self._value.inc(amount)
        self.change = next(_CHANGES)

    def values(self) -> Sequence[float]:
        """Return the value of a series."""
        return (self._value.get(),)

    def created(self) -> float:
        """Return when a series was created, in seconds since 1970."""
        return self._created


class Gauge(prometheus_client.Gauge):
    """The library's gauge, each series of it a :class:`Series`."""

    change: int = 0

    def inc(self, amount: float = 1) -> None:
        """Add ``amount``."""
        self._value.inc(amount)
        self.change = next(_CHANGES)

    def dec(self, amount: float = 1) -> None:
        """Subtract ``amount``."""
        self._value.inc(-amount)
        self.change = next(_CHANGES)

    def set(self, value: float) -> None:
        """Make it ``value``."""
        self._value.set(float(value))
        self.change = next(_CHANGES)

    def values(self) -> Sequence[float]:
        """Return the value of a series."""
        return (self._value.get(),)

    def created(self) -> float:
        """Raise LookupError: the library does not note it of gauges."""
        raise LookupError(self._name)


class Histogram(prometheus_client.Histogram):
    """The library's histogram, each series of it a :class:`Series`."""

    change: int = 0

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count ``amount``."""
        if exemplar is not None:
            super().observe(amount, exemplar)
        else:
            self._sum.inc(amount)
            self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)
        self.change = next(_CHANGES)

    def values(self) -> Sequence[float]:
        """Return what a series has for each bucket, the smaller ones included, then the count and the sum."""
        buckets = list(accumulate([bucket.get() for bucket in self._buckets]))
        return (*buckets, buckets[-1], self._sum.get())

    def created(self) -> float:
        """Return when a series was created, in seconds since 1970."""
        return self._created


class SeriesSum:
    """The sum of series of one metric."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series = series

    @property
    def change(self) -> int:
        """The last change of any of them: what has a smaller number had happened before it."""
        return max([one.change for one in self._series])

    def values(self) -> Sequence[float]:
        """Return the sums of their values."""
        if len(self._series) == 1:
            return self._series[0].values()
        return [sum(same) for same in zip(*[one.values() for one in self._series], strict=True)]

    def created(self) -> float:
        """Return when the first of them was created."""
        return min([one.created() for one in self._series])

    def _child_samples(self) -> Iterable[Sample]:
        return self._series[0]._child_samples()


Meter = Counter | Gauge | Histogram


def series_of(meter: Meter) -> Mapping[tuple[str, ...], Series]:
    """Return the series of ``meter`` by the values of its labels, as of now; of one without labels: itself."""
    if not meter._labelnames:
        return {(): meter}
    with meter._lock:
        return dict(cast("Mapping[tuple[str, ...], Series]", meter._metrics))
