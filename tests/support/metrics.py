"""What the metrics of this process say."""

from __future__ import annotations

from modelhost.series import Counter, Gauge, Histogram

SUFFIXES = {Gauge: "", Counter: "_total"}


def metric_value(meter: Gauge | Counter, *labels: str) -> float:
    """Return what a gauge, or a counter, says for ``labels``."""
    return _sample(meter, labels, SUFFIXES[type(meter)])


def observations(meter: Histogram, *labels: str) -> float:
    """Return how many values a histogram has taken for ``labels``."""
    return _sample(meter, labels, "_count")


def observed_sum(meter: Histogram, *labels: str) -> float:
    """Return the sum of the values that a histogram has taken for ``labels``."""
    return _sample(meter, labels, "_sum")


def _sample(meter: Gauge | Counter | Histogram, labels: tuple[str, ...], suffix: str) -> float:
    (family,) = (meter.labels(*labels) if labels else meter).collect()
    (found,) = (sample.value for sample in family.samples if sample.name == family.name + suffix)
    return found
