"""Statistics of the host's counters and gauges over windows."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import pytest

from modelhost.meters import METERS
from modelhost.monitor.alerts.source import CountedMetrics, MetricQuery


@pytest.fixture
def model() -> str:
    """A model whose metrics no other test counts."""
    return f"counted-{uuid.uuid4().hex}"


async def value(source: CountedMetrics, metric: str, statistic: str, seconds: float, subject: str) -> float | None:
    return (await source.read(MetricQuery(metric=metric, statistic=statistic, window_seconds=seconds))).get(subject)


async def gauged(samples: Iterable[tuple[float, float]], statistic: str, seconds: float) -> float | None:
    present = {"ram": 0.0}
    source = CountedMetrics({"memory_used_share": seconds}, {"memory_used_share": lambda: present})
    for now, present["ram"] in samples:
        await source.sample(now)
    return await value(source, "memory_used_share", statistic, seconds, "ram")


async def test_an_increase_is_that_of_the_window(model: str) -> None:
    source = CountedMetrics({"worker_exits": 60}, {})
    found = []
    for now in range(0, 120, 10):
        await source.sample(now)
        found.append(await value(source, "worker_exits", "increase", 60, model))
        if now in {0, 10, 50}:
            METERS.worker_exits.labels(model).inc()
    assert found == [None, 1, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1]


async def test_what_was_counted_before_the_first_sample_does_not_count(model: str) -> None:
    METERS.worker_exits.labels(model).inc(5)
    source = CountedMetrics({"worker_exits": 60}, {})
    await source.sample(0)
    METERS.worker_exits.labels(model).inc()
    await source.sample(10)
    assert await value(source, "worker_exits", "increase", 60, model) == 1


async def test_what_was_counted_before_a_counter_was_watched_does_not_count(model: str) -> None:
    source = CountedMetrics({"tokens_out": 60}, {})
    await source.sample(0)
    METERS.worker_exits.labels(model).inc(5)
    source.watch({"worker_exits": 60})
    await source.sample(10)
    METERS.worker_exits.labels(model).inc()
    await source.sample(20)
    assert await value(source, "worker_exits", "increase", 60, model) == 1


async def test_a_rate_is_per_second(model: str) -> None:
    source = CountedMetrics({"tokens_out": 60}, {})
    await source.sample(0)
    METERS.tokens_out.labels(model).inc(120)
    await source.sample(10)
    assert await value(source, "tokens_out", "rate", 60, model) == 2


async def test_a_share_is_that_of_the_requests_in_the_window_and_unknown_without_any(model: str) -> None:
    source = CountedMetrics({"refusal_share": 60}, {})
    await source.sample(0)
    assert await value(source, "refusal_share", "mean", 60, model) is None
    METERS.requests.labels(model, "chat", "200").inc(3)
    METERS.requests.labels(model, "chat", "503").inc()
    METERS.errors.labels(model, "queue_full").inc()
    METERS.errors.labels(model, "invalid_request").inc()
    await source.sample(10)
    assert await value(source, "refusal_share", "mean", 60, model) == 0.25
    await source.sample(100)
    assert await value(source, "refusal_share", "mean", 60, model) is None


async def test_only_refusals_for_want_of_memory_are_counted_as_those(model: str) -> None:
    source = CountedMetrics({"memory_refusals": 60}, {})
    await source.sample(0)
    METERS.errors.labels(model, "insufficient_memory").inc(2)
    METERS.errors.labels(model, "queue_full").inc()
    await source.sample(10)
    assert await value(source, "memory_refusals", "increase", 60, model) == 2


async def test_faults_of_all_tasks_are_the_hosts() -> None:
    source = CountedMetrics({"background_faults": 60}, {})
    await source.sample(0)
    METERS.background_faults.labels("one").inc()
    METERS.background_faults.labels("another").inc()
    await source.sample(10)
    assert await value(source, "background_faults", "increase", 60, "") == 2


@pytest.mark.parametrize(("statistic", "expected"), [("last", 0.5), ("mean", 0.75), ("min", 0.5), ("max", 1.0)])
async def test_statistics_of_a_gauge_are_those_of_the_samples_in_the_window(statistic: str, expected: float) -> None:
    assert await gauged([(0, 0.1), (30, 1.0), (60, 0.5)], statistic, 40) == expected


async def test_a_gauge_that_is_no_longer_there_has_no_value() -> None:
    present = {"gpu:0": 1.0}
    source = CountedMetrics({"memory_used_share": 60}, {"memory_used_share": lambda: present})
    await source.sample(0)
    del present["gpu:0"]
    await source.sample(10)
    assert await value(source, "memory_used_share", "last", 60, "gpu:0") is None
