"""The text of ``/metrics``: the same as the library's, in pieces between which the event loop has its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from modelhost.http.exposition import render_metrics
from modelhost.meters import METERS, REGISTRY, Meter, ModelMeters


async def text_of(meters: Iterable[Meter]) -> bytes:
    return b"".join([part async for part in render_metrics(meters)])


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
