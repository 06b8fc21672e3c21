"""The text of ``/metrics``: the same as the library's, in pieces between which the event loop has its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.samples import Sample

from modelhost.http.metrics.exposition import Exposition
from modelhost.http.metrics.metric_text import MetricText
from modelhost.meters import METERS, REGISTRY, Meter, ModelMeters
from modelhost.series import Counter, Gauge, Histogram


async def text_of(meters: Iterable[Meter]) -> bytes:
    return b"".join([part async for part in Exposition(meters).render()])


async def test_the_text_is_that_of_the_library() -> None:
    registry = CollectorRegistry()
    requests = Counter("requests", "Requests,\nby model.", ["model", "status"], registry=registry)
    seconds = Histogram("seconds", "Time.", ["model"], registry=registry)
    loaded = Gauge("loaded", "Loaded models.", registry=registry)
    for number in range(50):
        requests.labels(f'model "{number}"\n', "200").inc(number)
        seconds.labels(f"model {number}").observe(number)
    loaded.set(2)
    assert await text_of([requests, seconds, loaded]) == generate_latest(registry)


@pytest.mark.parametrize("number", [0.00001, 999_999, 1_000_000, 1_234_567.25, 2e17, -2e6, float("inf"), float("nan")])
async def test_numbers_are_written_as_the_library_writes_them(number: float) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("number", "A number.", registry=registry)
    gauge.set(number)
    assert await text_of([gauge]) == generate_latest(registry)


async def test_labels_stand_on_both_sides_of_the_bucket() -> None:
    registry = CollectorRegistry()
    seconds = Histogram("seconds", "Time.", ["operation", "face", "model"], registry=registry)
    seconds.labels("chat %s {}", "http", "a, b").observe(2)
    assert await text_of([seconds]) == generate_latest(registry)


async def test_what_has_changed_since_the_last_time_is_in_it() -> None:
    registry = CollectorRegistry()
    counter = Counter("counted", "Counted.", ["model"], registry=registry)
    gauge = Gauge("measured", "Measured.", ["model"], registry=registry)
    histogram = Histogram("seconds", "Time.", ["model"], registry=registry)
    exposition = Exposition([counter, gauge, histogram])
    changes = (
        lambda: counter.labels("one").inc(),
        lambda: counter.labels("two").inc(0),
        lambda: gauge.labels("one").set(3),
        lambda: gauge.labels("one").inc(),
        lambda: gauge.labels("one").dec(2),
        lambda: histogram.labels("one").observe(0),
        lambda: histogram.labels("one").observe(0),
        lambda: histogram.labels("two").observe(7),
        lambda: counter.labels("one").inc(2),
    )
    for change in changes:
        change()
        assert b"".join([part async for part in exposition.render()]) == generate_latest(registry)


class CountedSeries:
    """A series that counts how often it is read."""

    def __init__(self) -> None:
        self.change = 1
        self.reads = 0

    def values(self) -> tuple[float, ...]:
        self.reads += 1
        return (float(self.change),)

    def created(self) -> float:
        return 0.0

    def _child_samples(self) -> tuple[Sample, ...]:
        return (Sample("", {}, 0.0),)


def test_a_series_is_written_again_only_after_it_has_changed() -> None:
    text, one, other = MetricText(Metric("some", "Some.", "gauge"), ["model"]), CountedSeries(), CountedSeries()
    series = {("one",): one, ("other",): other}
    first = b"".join(text.pieces(series))
    one.change = 2
    second = b"".join(text.pieces(series))
    assert b"".join(text.pieces(series)) == second
    assert second == first.replace(b'some{model="one"} 1.0', b'some{model="one"} 2.0')
    assert (one.reads, other.reads) == (2, 1)


async def test_every_metric_of_the_host_is_in_it() -> None:
    assert await text_of(METERS.all()) == generate_latest(REGISTRY)


async def test_others_have_their_turn_while_it_is_written() -> None:
    many = Histogram("many", "Many series.", ["model"], registry=None)
    for number in range(500):
        many.labels(str(number)).observe(number)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await text_of([many])
    other.cancel()
    assert turns > 1


async def test_a_model_that_has_done_nothing_has_no_series() -> None:
    meters = ModelMeters("an idle model")
    meters.set_unloaded()
    assert b"an idle model" not in await text_of(METERS.all())
    meters.model_ready.set(1)
    meters.set_unloaded()
    assert b'modelhost_model_ready{model="an idle model"} 0.0' in await text_of(METERS.all())
