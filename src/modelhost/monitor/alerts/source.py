"""What alerts need of those that measure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol


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
