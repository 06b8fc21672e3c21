"""Stopping the scheduler, whatever it is doing: everyone is answered, no worker and no task is left."""

from __future__ import annotations

import asyncio

import pytest

from modelhost.errors import ShuttingDown
from modelhost.meters import METERS
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.record import FIRST_SECONDS
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import State
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
)
from tests.support.metrics import metric_value

pytestmark = pytest.mark.usefixtures("virtual_time")


async def _hold(scheduler: Scheduler, model: HostedModel, seconds: float) -> None:
    async with scheduler.lease(model):
        await asyncio.sleep(seconds)


async def test_stopping_refuses_new_and_waiting_requests_and_lets_those_at_work_finish() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1)
    holding = asyncio.create_task(_hold(scheduler, model, 5))
    await turns()
    waiting = asyncio.create_task(lease_once(scheduler, model))
    await turns()
    stopping = asyncio.create_task(end(scheduler, starts, drain_seconds=10))
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await lease_once(scheduler, model)
    with pytest.raises(ShuttingDown):
        await scheduler.load(model)
    await stopping
    assert holding.done()
    assert asyncio.get_running_loop().time() == pytest.approx(6.0)
    await holding


async def test_stopping_waits_no_longer_than_allowed() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    holding = asyncio.create_task(_hold(scheduler, model, 1000))
    await turns()
    before = asyncio.get_running_loop().time()
    await end(scheduler, starts, drain_seconds=2)
    assert asyncio.get_running_loop().time() - before == pytest.approx(2.0)
    # Who is cut off gives back what is there no more.
    holding.cancel()
    await asyncio.wait([holding])
    assert metric_value(METERS.in_flight, "fake") == 0


async def test_all_workers_are_ended_at_the_same_time() -> None:
    starts = FakeStarts(load_seconds=0.0, stop_seconds=5.0)
    names = ("ant", "bee", "cat", "dog")
    scheduler = fake_scheduler(starts, *map(fake_entry, names))
    for name in names:
        await scheduler.load(scheduler.models[name], wait=True)
    ending = asyncio.create_task(scheduler.unload(scheduler.models["dog"]))
    await turns()
    await end(scheduler, starts)
    assert asyncio.get_running_loop().time() == pytest.approx(5.0)
    await ending


async def test_a_worker_that_dies_while_the_host_drains_is_not_started_again() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, *map(fake_entry, ("ant", "bee", "cat")))
    ant, bee, cat = scheduler.models.values()
    await lease_once(scheduler, ant)
    holding = [asyncio.create_task(_hold(scheduler, model, 20)) for model in (bee, cat)]
    await asyncio.sleep(1.5)
    stopping = asyncio.create_task(end(scheduler, starts, drain_seconds=30))
    await turns()
    await crash(starts, bee)
    await asyncio.sleep(1)
    await scheduler.unload(ant)  # gives the ledger reason to look at everything once more
    await stopping
    assert starts.models == ["ant", "bee", "cat"]
    assert asyncio.get_running_loop().time() == pytest.approx(22.0)
    await asyncio.wait(holding)


@pytest.mark.parametrize("seconds_after_the_crash", [0.0, FIRST_SECONDS / 2, FIRST_SECONDS + 0.5, FIRST_SECONDS + 1.0])
async def test_stopping_during_a_restart_leaves_no_worker(seconds_after_the_crash: float) -> None:
    starts = FakeStarts(load_seconds=1.0)
    scheduler, model = await one_ready(starts)
    await crash(starts, model)
    await asyncio.sleep(seconds_after_the_crash)
    await end(scheduler, starts)
    await asyncio.sleep(100)
    assert not starts.alive()
    assert metric_value(METERS.model_ready, "fake") == 0


@pytest.mark.parametrize("turns_after_the_crash", range(4))
async def test_what_a_worker_that_died_has_left_is_cleaned_up_though_the_host_stops(turns_after_the_crash: int) -> None:
    starts = FakeStarts()
    scheduler, _ = await one_ready(starts)
    starts.processes[0].die()
    await turns(turns_after_the_crash)
    await end(scheduler, starts)
    assert starts.processes[0].was_cleaned_up


@pytest.mark.parametrize("drain_seconds", [0.0, 10.0])
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 1.5, 2.0])
async def test_stopping_while_a_model_comes_answers_all_who_want_it(seconds: float, drain_seconds: float) -> None:
    starts = FakeStarts(load_seconds=1.0)
    scheduler = fake_scheduler(starts, fake_entry(), files=FakeFiles(seconds=1.0))
    model = scheduler.models["fake"]
    wanting = [
        asyncio.create_task(lease_once(scheduler, model)),
        asyncio.create_task(scheduler.load(model, wait=True)),
        asyncio.create_task(scheduler.load(model)),
    ]
    await asyncio.sleep(seconds)
    await end(scheduler, starts, drain_seconds=drain_seconds)
    async with asyncio.timeout(1):
        outcomes = await asyncio.gather(*wanting, return_exceptions=True)
    assert all(not isinstance(outcome, Exception) or type(outcome) is ShuttingDown for outcome in outcomes)


@pytest.mark.parametrize(
    ("seconds", "state"), [(0.0, State.READY), (0.5, State.STOPPING), (1.0, State.STOPPING), (1.5, State.UNLOADED)]
)
async def test_stopping_while_models_are_swapped_leaves_no_worker(seconds: float, state: State) -> None:
    starts = FakeStarts(load_seconds=1.0, stop_seconds=1.0)
    scheduler = fake_scheduler(starts, fake_entry("ant"), fake_entry("bee"), budget={MODELS: 1})
    ant, bee = scheduler.models.values()
    await lease_once(scheduler, ant)
    asking = asyncio.create_task(lease_once(scheduler, bee))
    await asyncio.sleep(seconds)
    assert state_of(scheduler, ant) is state
    await end(scheduler, starts)
    with pytest.raises(ShuttingDown):
        await asking


async def test_a_removed_model_that_finishes_during_the_drain_does_not_hold_it_up() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, *map(fake_entry, ("ant", "bee")))
    holding = [
        asyncio.create_task(_hold(scheduler, model, seconds))
        for model, seconds in zip(scheduler.models.values(), (5, 3), strict=True)
    ]
    await asyncio.sleep(1.5)
    scheduler.remove("ant")
    scheduler.remove("bee")
    await end(scheduler, starts, drain_seconds=60)
    assert asyncio.get_running_loop().time() == pytest.approx(6.0)
    assert not scheduler.models
    await asyncio.gather(*holding)


async def test_listeners_learn_of_the_end() -> None:
    starts = FakeStarts()
    scheduler, _ = await one_ready(starts)

    async def listen() -> int:
        count = 0
        async with scheduler.events() as listener:
            async for _ in listener.read():
                count += 1
        return count

    listening = asyncio.create_task(listen())
    await turns()
    await end(scheduler, starts)
    assert await listening >= 1
    assert await listen() == 1


async def test_stopping_twice_does_no_harm() -> None:
    starts = FakeStarts(stop_seconds=1.0)
    scheduler, _ = await one_ready(starts)
    await asyncio.gather(scheduler.stop(0), scheduler.stop(0))
    await end(scheduler, starts)
