"""The scheduler with one model, fake workers and virtual time: who waits, who is served, who is refused, and when."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from modelhost.errors import ModelFailed, QueueFull, QueueTimeout, WorkerStartFailed
from modelhost.meters import METERS
from modelhost.models.residency.record import LONGEST_SECONDS
from modelhost.models.residency.status import State
from modelhost.workers.client import WorkerClient
from tests.support.fake_workers import (
    FakeFiles,
    FakeStarts,
    crash,
    end,
    fake_entry,
    fake_scheduler,
    lease_once,
    one_ready,
    state_of,
    turns,
    waiting_and_running,
)
from tests.support.metrics import metric_value, observations

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_a_request_for_an_unloaded_model_has_it_loaded() -> None:
    starts = FakeStarts(load_seconds=3.0)
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    assert state_of(scheduler, model) is State.UNLOADED
    worker = await lease_once(scheduler, model)
    assert worker.process is starts.processes[0]
    assert asyncio.get_running_loop().time() == 3.0
    assert state_of(scheduler, model) is State.READY
    await end(scheduler, starts)


async def test_a_request_for_a_model_that_failed_is_told_the_cause() -> None:
    starts, files = FakeStarts(), FakeFiles()
    scheduler = fake_scheduler(starts, fake_entry(), files=files)
    model = scheduler.models["fake"]
    files.failures = 1
    with pytest.raises(ModelFailed) as caught:
        await lease_once(scheduler, model)
    assert caught.value.details == {"model": "fake", "cause": "model_file_missing"}
    await asyncio.sleep(LONGEST_SECONDS)
    starts.failures = 2
    starts.error = lambda: WorkerStartFailed("no", model="fake", worker="w", out_of_memory=True, stderr=["much"])
    with pytest.raises(ModelFailed) as caught:
        await lease_once(scheduler, model)
    assert caught.value.details == {
        "model": "fake",
        "engine": "scripted",
        "cause": "worker_start_failed",
        "out_of_memory": True,
    }
    await end(scheduler, starts)


async def test_all_requests_for_an_unloaded_model_join_one_load() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, fake_entry(), files=FakeFiles(seconds=1.0))
    model = scheduler.models["fake"]
    asking = []
    for _ in range(3):
        asking.append(asyncio.create_task(lease_once(scheduler, model)))
        await asyncio.sleep(0.5)
    workers = await asyncio.gather(*asking, scheduler.load(model, wait=True))
    assert {worker.process for worker in workers[:3]} == {starts.processes[0]}
    assert starts.models == ["fake"]
    await end(scheduler, starts)


async def test_requests_over_the_limit_wait_and_are_served_in_the_order_they_came() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1)
    served: list[int] = []

    async def ask(number: int) -> None:
        async with scheduler.lease(model):
            served.append(number)
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as clients:
        for number in range(4):
            clients.create_task(ask(number))
    assert served == [0, 1, 2, 3]
    await end(scheduler, starts)


async def test_who_waits_is_told_its_place_and_who_does_not_wait_is_told_nothing() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, fake_entry(max_in_flight=1))
    model = scheduler.models["fake"]
    places: list[tuple[int, int]] = []

    async def ask(number: int) -> None:
        async with scheduler.lease(model, lambda place: places.append((number, place))):
            pass

    async with asyncio.TaskGroup() as clients:
        for number in range(3):
            clients.create_task(ask(number))
    await ask(4)
    assert places == [(0, 1), (1, 2), (2, 3)]
    await end(scheduler, starts)


async def test_a_late_request_does_not_overtake_one_that_waits() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1)
    served: list[str] = []

    async def ask(who: str) -> None:
        async with scheduler.lease(model):
            served.append(who)

    async with AsyncExitStack() as first:
        await first.enter_async_context(scheduler.lease(model))
        waiting = asyncio.create_task(ask("early"))
        await turns()
    # The place is free again, but promised to the one that waits, which has not run yet.
    await ask("late")
    await waiting
    assert served == ["early", "late"]
    await end(scheduler, starts)


async def test_a_full_queue_refuses_at_once_and_says_how_many_wait() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, queue_size=2)
    await crash(starts, model)
    waiting = [asyncio.create_task(lease_once(scheduler, model)) for _ in range(2)]
    await turns()
    now = asyncio.get_running_loop().time()
    with pytest.raises(QueueFull, match="2 requests wait") as refused:
        await lease_once(scheduler, model)
    assert asyncio.get_running_loop().time() == now
    assert refused.value.retry_after_seconds >= 1
    assert refused.value.details["state"] == "queued"
    await asyncio.gather(*waiting)
    await end(scheduler, starts)


@pytest.mark.promise("candle-vllm.flags.request-timeout")
async def test_a_wait_ends_after_the_request_timeout_says_where_it_stood_and_leaves_nothing_behind() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1, request_timeout=30.0)
    async with scheduler.lease(model):
        first = asyncio.create_task(lease_once(scheduler, model))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        with pytest.raises(QueueTimeout, match=r"number 1 of 1 waiting for fake \(busy\) when the 30 s") as second:
            await lease_once(scheduler, model)
        assert asyncio.get_running_loop().time() - began == pytest.approx(30.0)
        assert (second.value.details["position"], second.value.details["position_at_first"]) == (1, 2)
        assert waiting_and_running(scheduler, model) == (1, 0)
        with pytest.raises(QueueTimeout):
            await first
    assert waiting_and_running(scheduler, model) == (0, 0)
    await end(scheduler, starts)


async def test_the_time_that_the_model_takes_to_load_is_not_counted_as_waiting() -> None:
    starts = FakeStarts(load_seconds=100.0)
    scheduler = fake_scheduler(starts, fake_entry(request_timeout=5.0, max_in_flight=1))
    model = scheduler.models["fake"]

    async def hold(seconds: float) -> None:
        async with scheduler.lease(model):
            await asyncio.sleep(seconds)

    first = asyncio.create_task(hold(4.0))
    await turns()
    in_time, late = asyncio.create_task(hold(2.0)), asyncio.create_task(hold(0))
    # 100 s of loading, then 4 s and 6 s of waiting for others: only the last has waited too long.
    await asyncio.gather(first, in_time)
    with pytest.raises(QueueTimeout):
        await late
    await end(scheduler, starts)


async def test_the_time_that_a_download_takes_is_counted_as_waiting() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, fake_entry(request_timeout=30.0), files=FakeFiles(seconds=100.0))
    model = scheduler.models["fake"]
    with pytest.raises(QueueTimeout, match="being downloaded"):
        await lease_once(scheduler, model)
    assert asyncio.get_running_loop().time() == pytest.approx(30.0)
    # The download goes on: the next request may find the files here.
    await asyncio.sleep(71)
    await lease_once(scheduler, model)
    await end(scheduler, starts)


@pytest.mark.parametrize("turns_between", range(6))
async def test_a_worker_granted_in_the_moment_its_client_leaves_goes_to_the_next(turns_between: int) -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1)
    release = asyncio.Event()

    async def hold() -> None:
        async with scheduler.lease(model):
            await release.wait()

    holding = asyncio.create_task(hold())
    await turns()
    leaving, next_one = asyncio.create_task(hold()), asyncio.create_task(hold())
    await turns()
    release.set()
    await turns(turns_between)
    leaving.cancel()
    async with asyncio.timeout(1):
        await asyncio.gather(holding, leaving, next_one, return_exceptions=True)
    assert not next_one.cancelled()
    assert waiting_and_running(scheduler, model) == (0, 0)
    await end(scheduler, starts)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 1.5, 3.0])
async def test_a_client_that_leaves_while_its_model_comes_gives_up_its_place_and_the_load_goes_on(
    seconds: float,
) -> None:
    starts = FakeStarts(load_seconds=2.0)
    scheduler = fake_scheduler(starts, fake_entry(max_in_flight=1), files=FakeFiles(seconds=1.0))
    model = scheduler.models["fake"]
    leaving = asyncio.create_task(lease_once(scheduler, model))
    await turns()
    staying = asyncio.create_task(lease_once(scheduler, model))
    await asyncio.sleep(seconds)
    leaving.cancel()
    await staying
    assert asyncio.get_running_loop().time() == pytest.approx(3.0)
    assert waiting_and_running(scheduler, model) == (0, 0)
    assert metric_value(METERS.queue_length, "fake") == 0
    await end(scheduler, starts)


async def test_a_worker_granted_in_the_moment_of_the_timeout_is_not_lost() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1, request_timeout=5.0)
    loop = asyncio.get_running_loop()
    outcomes = []
    for offset in (-0.001, 0.0, 0.001):
        end_at = loop.time() + 5.0

        async def hold(until: float = end_at + offset) -> None:
            async with scheduler.lease(model):
                await asyncio.sleep(until - loop.time())

        holding = asyncio.create_task(hold())
        await asyncio.sleep(0)
        (outcome,) = await asyncio.gather(lease_once(scheduler, model), return_exceptions=True)
        outcomes.append(type(outcome))
        await holding
        assert waiting_and_running(scheduler, model) == (0, 0)
    assert outcomes[0] is WorkerClient
    assert outcomes[2] is QueueTimeout
    await end(scheduler, starts)


async def test_only_those_who_had_to_wait_are_counted_as_having_waited() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1, queue_size=1)
    before = observations(METERS.queue_seconds, "fake")
    async with scheduler.lease(model):
        waiting = asyncio.create_task(lease_once(scheduler, model))
        await turns()
        with pytest.raises(QueueFull):
            await lease_once(scheduler, model)
    await waiting
    assert observations(METERS.queue_seconds, "fake") == before + 1
    await end(scheduler, starts)
