"""What the monitor costs: recording a request, and its history in time, memory and bytes.

``python -m bench.monitor`` prints the figures. History is made with a clock of its own: a month of requests to five
models takes minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

from modelhost.config.databases import parse_database_url
from modelhost.config.settings import Settings
from modelhost.config.value_types import parse_levels
from modelhost.http.metrics.exposition import Exposition
from modelhost.meters import METERS, ModelMeters
from modelhost.monitor.history import levels_of
from modelhost.monitor.measure import RequestMeasure
from modelhost.monitor.monitor import Monitor
from modelhost.operations.monitor import ALL, POINTS, report_of
from modelhost.state.history.database import HistoryDatabase
from modelhost.state.history.metrics import MetricStore
from modelhost.state.lazy_database import LazyDatabase

MODELS = tuple(f"model-{number}" for number in range(5))
CODES = ("queue_full", "queue_timeout", "invalid_request", "model_failed", "context_length_exceeded")
BEGINNING = 1_767_225_600.0
DAY = 86_400
ACTIVE, FEW = 1000, 10
HOUR = 3600
TRIES = 5
WINDOWS = (60, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY)
WRITE_SECONDS, QUICK_SECONDS = 10, 300
"""Between two writes: as a host does, and later for a month to pass quickly; the rows are the same."""


class Clock:
    """Seconds since 1970, as they are set."""

    def __init__(self) -> None:
        self.now = BEGINNING

    def __call__(self) -> float:
        return self.now


def a_request(monitor: Monitor, chance: random.Random) -> RequestMeasure:
    """Return a request with all that can be measured of one."""
    request = RequestMeasure(monitor)
    request.turns, request.tokens_in, request.tokens_out, request.tokens_cached = 1, 800, 120, 400
    request.first_token_seconds = chance.lognormvariate(-1.5, 0.6)
    request.between_tokens_seconds = [chance.lognormvariate(-4, 0.3)]
    request.was_queued, request.queue_seconds = True, chance.lognormvariate(-2, 1)
    request.tool_calls, request.tool_seconds = 1, 0.2
    request.drafted, request.accepted = 60, 40
    return request


def record_one(monitor: Monitor, chance: random.Random, model: str) -> None:
    """Record such a request; one of fifty fails."""
    code = chance.choice(CODES) if chance.random() < 0.02 else None
    monitor.record(a_request(monitor, chance), model=model, seconds=chance.lognormvariate(0.5, 0.6), code=code)


async def measure_record(monitor: Monitor, clock: Clock) -> float:
    """Return the microseconds of one `record`, with a new interval every thousand."""
    chance, count = random.Random(1), 20_000
    requests = [a_request(monitor, chance) for _ in range(count)]
    began = time.process_time()
    for number, request in enumerate(requests):
        if number % 1000 == 0:
            clock.now += 1
        monitor.record(request, model=MODELS[number % 5], seconds=1.5, code=None)
    return (time.process_time() - began) / count * 1e6


def put_to_work(model: str) -> None:
    """Give a model all series that a model of text has."""
    meters = ModelMeters(model)
    for histogram in (meters.time_to_first_token, meters.time_between_tokens, meters.queue_seconds):
        histogram.observe(0.1)
    meters.count_load(0.1, slots=4)
    meters.count_usage({"prompt_tokens": 1, "completion_tokens": 1})
    meters.set_memory({"ram": 1})
    METERS.requests.labels(model, "chat", "200").inc()
    METERS.request_seconds.labels(model, "chat").observe(0.1)


async def measure_rendering(exposition: Exposition) -> tuple[float, float]:
    """Return the milliseconds of CPU that ``/metrics`` takes, and at most without a pause."""
    held, since = [], time.thread_time()
    async for _ in exposition.render():
        held.append(time.thread_time() - since)
        since = time.thread_time()
    return sum(held) * 1000, max(held) * 1000


async def print_rendering() -> None:
    """Print what ``/metrics`` costs with models that have all had work since the last scrape, then a few of them."""
    names, exposition = [f"model-{number}" for number in range(ACTIVE)], Exposition(METERS.all())
    for at_work in (names, names[:FEW], names[:0]):
        tries = []
        for _ in range(TRIES):
            for model in at_work:
                put_to_work(model)
            tries.append(await measure_rendering(exposition))
        took, longest = statistics.median([one[0] for one in tries]), max([one[1] for one in tries])
        print(
            f"/metrics of {ACTIVE} models, {len(at_work)} of them at work since the last one: "
            f"{took:.0f} ms of CPU, at most {longest:.1f} ms without a pause"
        )


async def measure_metrics(monitor: Monitor, seconds: int) -> tuple[float, int]:
    """Return the median of the milliseconds of CPU that `get-metrics` takes, and the requests that it counts."""
    took = []
    for _ in range(TRIES):
        began = time.process_time()
        window = await monitor.window(seconds, points=POINTS)
        report = await asyncio.to_thread(report_of, window, frozenset(ALL), {}, is_whole=True)
        took.append((time.process_time() - began) * 1000)
    return statistics.median(took), report.metrics.requests.total


async def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--rate", type=float, default=1.0, help="requests per second, over all models")
    days, rate = (given := options.parse_args()).days, given.rate
    with tempfile.TemporaryDirectory() as folder:
        path, clock = Path(folder) / "metrics.db", Clock()
        store = MetricStore(HistoryDatabase(LazyDatabase(parse_database_url(f"sqlite:///{path}"))), Path(folder))
        levels = levels_of(parse_levels(Settings().metrics_history))
        alone = Monitor(store, levels, source="alone", clock=clock)
        print(f"record(): {await measure_record(alone, clock):.1f} us")
        await print_rendering()
        monitor, chance = Monitor(store, levels, source="host", clock=clock), random.Random(2)
        await monitor.flush()  # opens the database, which is not the monitor's memory
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        clock.now, write_at, began = BEGINNING, BEGINNING, time.process_time()
        for number in range(int(days * DAY * rate)):
            clock.now = BEGINNING + number / rate
            record_one(monitor, chance, MODELS[number % len(MODELS)])
            if tracemalloc.is_tracing() and clock.now >= BEGINNING + HOUR:
                print(f"memory: {(tracemalloc.get_traced_memory()[1] - before) / 1e6:.2f} MB at most in the first hour")
                tracemalloc.stop()
            if clock.now >= write_at:
                write_at = clock.now + (WRITE_SECONDS if clock.now < BEGINNING + HOUR else QUICK_SECONDS)
                await monitor.flush()
        print(
            f"{days} days at {rate:g}/s: {path.stat().st_size / 1e6:.1f} MB (CPU {time.process_time() - began:.0f} s)"
        )
        for seconds in WINDOWS:
            took, requests = await measure_metrics(monitor, seconds)
            print(f"get-metrics of {seconds} s with history: {took:.0f} ms of CPU, {requests} requests")


asyncio.run(main())
