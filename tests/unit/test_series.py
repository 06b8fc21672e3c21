"""Series count as those of Prometheus' library do."""

from __future__ import annotations

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from modelhost.series import Counter, Histogram

BUCKETS = (0.5, 1.0, 2.5)


@pytest.mark.parametrize("value", [0.0, 0.5, 0.75, 1.0, 2.5, 2.6, 1e9])
def test_a_value_is_in_the_same_buckets_as_with_the_library(value: float) -> None:
    ours = Histogram("seconds", "Seconds.", registry=CollectorRegistry(), buckets=BUCKETS)
    theirs = prometheus_client.Histogram("seconds", "Seconds.", registry=CollectorRegistry(), buckets=BUCKETS)
    for histogram in (ours, theirs):
        histogram.observe(value)
    (our_metric,), (their_metric,) = ours.collect(), theirs.collect()
    compared = [
        [(sample.name, sample.labels, sample.value) for sample in metric.samples if not sample.name.endswith("created")]
        for metric in (our_metric, their_metric)
    ]
    assert compared[0] == compared[1]


def test_a_counter_does_not_fall() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        Counter("things", "Things.", registry=CollectorRegistry()).inc(-1)
