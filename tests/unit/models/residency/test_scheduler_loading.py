"""Loading and unloading that a client requests: what it returns, and what becomes of the requests that wait."""

from __future__ import annotations

import asyncio

import pytest

from modelhost.errors import (
    InsufficientMemory,
    ModelBusy,
    ModelUnloaded,
    WorkerStartFailed,
)
from modelhost.meters import METERS
from modelhost.models.residency.status import State
from tests.support.fake_workers import (
    FakeFiles,
    FakeStarts,
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


async def test_asking_for_a_load_returns_at_once_with_what_it_will_take() -> None:
    starts = FakeStarts(load_seconds=3.0)
    scheduler = fake_scheduler(starts, fake_entry(), files=FakeFiles(seconds=0.5))
    model = scheduler.models["fake"]
    estimate = await scheduler.load(model)
    assert asyncio.get_running_loop().time() == 0.5  # only the files were looked at
    assert (estimate.state, estimate.need_bytes) == (State.LOADING, {"ram": 1})
    assert estimate.estimated_seconds == pytest.approx(0.5, abs=0.1)
    await scheduler.load(model, wait=True)
    await scheduler.unload(model)
    again = await scheduler.load(model)
    assert again.estimated_seconds == 3.0  # as it was the last time
    await end(scheduler, starts)


@pytest.mark.promise("vllm-crush.errors.load-failed")
async def test_asking_for_the_load_of_a_model_that_cannot_fit_says_so_as_soon_as_that_is_known() -> None:
    starts, files = FakeStarts(), FakeFiles(seconds=1.0)
    files.needs["fake"] = 11_000_000
    scheduler = fake_scheduler(starts, fake_entry(), files=files, budget={"ram": 10_000_000})
    for _ in range(2):
        with pytest.raises(InsufficientMemory) as no:
            await scheduler.load(scheduler.models["fake"])
        assert (no.value.details["required_mb"], no.value.details["available_mb"]) == (11, 10)
    assert scheduler.status(scheduler.models["fake"]).state is State.UNLOADED
    await end(scheduler, starts)


async def test_asking_for_a_load_does_not_wait_for_a_download() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, fake_entry(), files=FakeFiles(seconds=1000.0))
    estimate = await scheduler.load(scheduler.models["fake"])
    assert (estimate.state, estimate.need_bytes, estimate.estimated_seconds) == (State.LOADING, None, None)
    assert asyncio.get_running_loop().time() < 10
    await end(scheduler, starts)


async def test_unloading_returns_when_the_memory_is_back_and_says_how_much_it_was() -> None:
    starts = FakeStarts(stop_seconds=3.0)
    starts.memory_bytes = 500
    scheduler, model = await one_ready(starts)
    # At once: nothing has been measured yet but at the end.
    unloaded = await scheduler.unload(model)
    assert unloaded.freed_bytes == {"ram": 500}
    assert asyncio.get_running_loop().time() == 4.0
    assert starts.processes[0].was_cleaned_up
    assert metric_value(METERS.memory_bytes, "fake", "ram") == 0
    assert (await scheduler.unload(model)).freed_bytes == {}
    assert scheduler.status(model).memory_bytes is None
    await end(scheduler, starts)


async def test_a_model_with_requests_is_not_unloaded_without_force() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1)
    async with scheduler.lease(model) as worker:
        waiting = asyncio.create_task(lease_once(scheduler, model))
        await turns()
        with pytest.raises(ModelBusy, match="1 request at work and 1 waiting"):
            await scheduler.unload(model)
        assert worker.process.is_running
    await waiting
    await end(scheduler, starts)


async def test_unloading_by_force_ends_the_worker_and_refuses_who_waits() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1)
    async with scheduler.lease(model) as worker:
        waiting = asyncio.create_task(lease_once(scheduler, model))
        await turns()
        await scheduler.unload(model, force=True)
        with pytest.raises(ModelUnloaded):
            await waiting
        assert not worker.process.is_running
        with pytest.raises(ModelUnloaded):
            await worker.call("chat", {})
    # The turn that was cut off takes nothing from the next worker's count.
    async with scheduler.lease(model):
        assert scheduler.status(model).in_flight == 1
    await end(scheduler, starts)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 2.0])
async def test_unloading_a_model_while_it_comes_ends_that_and_tells_who_waits(seconds: float) -> None:
    starts = FakeStarts(load_seconds=2.0)
    scheduler = fake_scheduler(starts, fake_entry(), files=FakeFiles(seconds=1.0))
    model = scheduler.models["fake"]
    asking = asyncio.create_task(lease_once(scheduler, model))
    loading = asyncio.create_task(scheduler.load(model, wait=True))
    await asyncio.sleep(seconds)
    with pytest.raises(ModelBusy):
        await scheduler.unload(model)
    await scheduler.unload(model, force=True)
    for each in (asking, loading):
        with pytest.raises(ModelUnloaded):
            await each
    assert not starts.at_once
    await asyncio.sleep(100)
    assert state_of(scheduler, model) is State.UNLOADED
    await end(scheduler, starts)


async def test_a_request_that_comes_while_the_model_goes_has_it_loaded_again() -> None:
    starts = FakeStarts(stop_seconds=2.0)
    scheduler, model = await one_ready(starts)
    unloading = asyncio.create_task(scheduler.unload(model))
    await asyncio.sleep(1)
    assert state_of(scheduler, model) is State.STOPPING
    asking = asyncio.create_task(lease_once(scheduler, model))
    await unloading
    assert (await asking).process is starts.processes[1]
    await end(scheduler, starts)


async def test_waiting_for_a_load_ends_with_why_it_failed_for_each_who_waits() -> None:
    starts = FakeStarts()
    starts.failures = 1
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    outcomes = await asyncio.gather(
        scheduler.load(model, wait=True), scheduler.load(model, wait=True), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [WorkerStartFailed] * 2
    # Whoever asks for it again has it tried at once, whatever the pause.
    now = asyncio.get_running_loop().time()
    await scheduler.load(model, wait=True)
    assert asyncio.get_running_loop().time() == now + 1.0
    await end(scheduler, starts)


async def test_who_no_longer_waits_for_a_load_leaves_nothing_behind() -> None:
    starts = FakeStarts(load_seconds=100.0)
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    waiting = [asyncio.create_task(scheduler.load(model, wait=True)) for _ in range(5)]
    await asyncio.sleep(1)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert not scheduler.changes.awaited_models
    await end(scheduler, starts)
