"""The scheduler with several models under a budget: who makes room, who is unloaded, what changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelhost.errors import (
    InsufficientMemory,
    ModelFailed,
    ModelNotFound,
)
from modelhost.meters import METERS
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.planner import BurstLimits
from modelhost.models.residency.scheduler import Scheduler
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

ONE_AT_A_TIME = {MODELS: 1}


def _ants_and_bees(starts: FakeStarts, **more: Any) -> tuple[Scheduler, HostedModel, HostedModel]:
    """Two models of which one may be loaded."""
    scheduler = fake_scheduler(starts, fake_entry("ant"), fake_entry("bee"), **{"budget": ONE_AT_A_TIME, **more})
    return scheduler, scheduler.models["ant"], scheduler.models["bee"]


# Making room.


async def test_an_idle_model_makes_room_and_its_memory_is_back_before_the_next_is_loaded() -> None:
    starts = FakeStarts(load_seconds=1.0, stop_seconds=2.0)
    scheduler, ant, bee = _ants_and_bees(starts)
    await lease_once(scheduler, ant)
    await lease_once(scheduler, bee)
    assert asyncio.get_running_loop().time() == 4.0
    assert starts.most_at_once == 1
    assert starts.processes[0].was_cleaned_up
    assert (scheduler.status(ant).evictions, scheduler.status(ant).state) == (1, State.UNLOADED)
    assert scheduler.status(bee).loads == 1
    await end(scheduler, starts)


async def test_files_are_looked_up_again_for_a_reload_only_if_they_have_changed() -> None:
    starts, files = FakeStarts(), FakeFiles()
    scheduler, ant, _ = _ants_and_bees(starts, files=files)
    for _ in range(2):
        await lease_once(scheduler, ant)
        await scheduler.unload(ant)
    assert files.looked_for == ["ant"]
    files.needs["ant"] = 7
    files.replaced.add("ant")
    await lease_once(scheduler, ant)
    assert files.looked_for == ["ant", "ant"]
    assert ant.resolved is not None
    assert ant.resolved.need_bytes == {"ram": 7}
    assert scheduler.status(ant).loads == 3
    await end(scheduler, starts)


async def test_a_model_that_is_loaded_next_has_its_files_looked_at_no_second_time() -> None:
    starts, files = FakeStarts(), FakeFiles()
    scheduler = fake_scheduler(starts, files=files)
    entry = fake_entry("ant")
    files.replaced.add("ant")  # which another look would notice
    ant = scheduler.add(entry, files.resolved(entry), is_loaded_next=True)
    await lease_once(scheduler, ant)
    assert files.looked_for == []
    await scheduler.unload(ant)
    await lease_once(scheduler, ant)
    assert files.looked_for == ["ant"]
    await end(scheduler, starts)


async def test_files_that_are_gone_at_a_reload_are_said_to_be_gone() -> None:
    starts, files = FakeStarts(), FakeFiles()
    scheduler, ant, _ = _ants_and_bees(starts, files=files)
    await lease_once(scheduler, ant)
    await scheduler.unload(ant)
    files.replaced.add("ant")
    files.failures = 1
    with pytest.raises(ModelFailed, match="no such file"):
        await lease_once(scheduler, ant)
    assert starts.models == ["ant"]
    await end(scheduler, starts)


async def test_models_that_fit_together_stay_together() -> None:
    starts, files = FakeStarts(), FakeFiles()
    files.needs |= {"ant": 4, "bee": 6, "cat": 1}
    names = ("ant", "bee", "cat")
    scheduler = fake_scheduler(starts, *map(fake_entry, names), files=files, budget={"ram": 10})
    ant, bee, cat = (scheduler.models[name] for name in names)
    await asyncio.gather(lease_once(scheduler, ant), lease_once(scheduler, bee))
    assert starts.at_once == 2
    assert asyncio.get_running_loop().time() == 1.0
    assert scheduler.ledger.occupancy.used() == {"ram": 10}
    await lease_once(scheduler, bee)
    await lease_once(scheduler, cat)
    # The one that was not used for longest went.
    assert not starts.alive("ant")
    assert starts.alive("bee")
    await end(scheduler, starts)


async def test_a_model_that_turns_out_larger_than_thought_counts_with_what_it_takes() -> None:
    starts = FakeStarts()
    starts.memory_bytes = 9
    scheduler, ant, bee = _ants_and_bees(starts, budget={"ram": 10})
    await lease_once(scheduler, ant)
    await turns()
    assert scheduler.ledger.occupancy.used() == {"ram": 9}
    assert scheduler.status(ant).memory_bytes == {"ram": 9}
    assert metric_value(METERS.memory_bytes, "ant", "ram") == 9
    starts.memory_bytes = 2
    await lease_once(scheduler, bee)  # thought to need 1, and takes 2
    await turns()
    assert [process.model for process in starts.alive()] == ["bee"]
    await end(scheduler, starts)


async def test_a_busy_model_is_not_unloaded_and_the_other_waits() -> None:
    starts = FakeStarts()
    scheduler, ant, bee = _ants_and_bees(starts)
    async with scheduler.lease(ant) as worker:
        asking = asyncio.create_task(lease_once(scheduler, bee))
        await asyncio.sleep(20)
        assert worker.process.is_running
        assert state_of(scheduler, bee) is State.QUEUED
        estimate = await scheduler.load(bee)
        assert (estimate.state, estimate.position) == (State.QUEUED, 1)
    await asking
    assert starts.models == ["ant", "bee"]
    await end(scheduler, starts)


async def test_two_models_with_requests_for_both_are_swapped_by_bursts_and_not_by_requests() -> None:
    starts = FakeStarts(load_seconds=2.0)
    bursts = BurstLimits(requests=10, seconds=100.0)
    entries = (fake_entry("ant", queue_size=50), fake_entry("bee", queue_size=50))
    scheduler = fake_scheduler(starts, *entries, budget=ONE_AT_A_TIME, bursts=bursts)
    models = [scheduler.models["ant"], scheduler.models["bee"]]

    async def ask(model: HostedModel) -> None:
        for _ in range(10):
            async with scheduler.lease(model):
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as clients:
        for number in range(10):
            clients.create_task(ask(models[number % 2]))
    assert len(starts.models) <= 100 / 10 + 2
    assert starts.most_at_once == 1
    await end(scheduler, starts)


async def test_a_pinned_model_is_loaded_by_itself_and_never_makes_room() -> None:
    starts, files = FakeStarts(), FakeFiles()
    files.needs |= {"ant": 7_000_000, "bee": 5_000_000}
    entries = (fake_entry("ant", is_pinned=True, idle_unload_secs=1.0), fake_entry("bee"))
    scheduler = fake_scheduler(starts, *entries, files=files, budget={"ram": 10_000_000})
    await asyncio.sleep(5)
    assert starts.models == ["ant"]
    with pytest.raises(InsufficientMemory, match=r"bee does not fit: 2 MB of ram missing.*ant \(7 MB of ram\)") as no:
        await lease_once(scheduler, scheduler.models["bee"])
    assert no.value.details["missing_mb"] == {"ram": 2}
    assert no.value.details["holders"] == {"ant": {"ram": 7}}
    with pytest.raises(InsufficientMemory):
        await scheduler.load(scheduler.models["bee"], wait=True)
    with pytest.raises(InsufficientMemory) as at_once:
        await scheduler.load(scheduler.models["bee"])
    wanted = {
        "required_mb": 5,
        "available_mb": 3,
        "suggestion": "Unpin or remove one of them, or raise --memory-budget.",
    }
    assert {name: at_once.value.details[name] for name in wanted} == wanted
    assert starts.alive("ant")
    await end(scheduler, starts)


async def test_all_who_wait_for_a_model_that_does_not_fit_get_an_error_of_their_own() -> None:
    starts, files = FakeStarts(), FakeFiles(seconds=1.0)
    files.needs["fake"] = 11
    scheduler = fake_scheduler(starts, fake_entry(), files=files, budget={"ram": 10})
    asking = [lease_once(scheduler, scheduler.models["fake"]) for _ in range(2)]
    first, second = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, InsufficientMemory)
    assert isinstance(second, InsufficientMemory)
    assert first is not second
    await end(scheduler, starts)


async def test_an_idle_model_is_unloaded_after_its_time_and_not_before() -> None:
    starts = FakeStarts(load_seconds=0.0)
    scheduler, model = await one_ready(starts, idle_unload_secs=10.0)
    for _ in range(3):
        await asyncio.sleep(6)
        await lease_once(scheduler, model)
    async with scheduler.lease(model):
        await asyncio.sleep(100)
    await asyncio.sleep(9)
    assert state_of(scheduler, model) is State.READY
    await asyncio.sleep(2)
    assert state_of(scheduler, model) is State.UNLOADED
    assert scheduler.status(model).evictions == 0
    await lease_once(scheduler, model)
    await end(scheduler, starts)


async def test_a_model_that_a_client_keeps_is_unloaded_when_its_time_is_over() -> None:
    starts = FakeStarts(load_seconds=0.0)
    scheduler, model = await one_ready(starts)
    scheduler.keep(model, 10.0)
    await asyncio.sleep(6)
    await lease_once(scheduler, model)
    await asyncio.sleep(9)
    assert (state_of(scheduler, model), scheduler.status(model).idle_unload_seconds) == (State.READY, 10.0)
    await asyncio.sleep(2)
    assert (state_of(scheduler, model), scheduler.status(model).idle_unload_seconds) == (State.UNLOADED, None)
    await lease_once(scheduler, model)
    await asyncio.sleep(1000)
    assert state_of(scheduler, model) is State.READY
    await end(scheduler, starts)


async def test_a_model_that_no_client_keeps_is_unloaded_after_the_request() -> None:
    starts = FakeStarts(load_seconds=0.0)
    scheduler, model = await one_ready(starts)
    async with scheduler.lease(model):
        scheduler.keep(model, 0.0)
        await asyncio.sleep(5)
        assert state_of(scheduler, model) is State.BUSY
    await asyncio.sleep(1)
    assert state_of(scheduler, model) is State.UNLOADED
    await end(scheduler, starts)


# Models that change and go.


async def test_a_model_that_is_removed_while_busy_goes_with_its_last_request() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, max_in_flight=1)
    async with scheduler.lease(model) as worker:
        waiting = asyncio.create_task(lease_once(scheduler, model))
        await turns()
        scheduler.remove("fake")
        with pytest.raises(ModelNotFound, match="taken out of the registry"):
            await waiting
        assert "fake" not in scheduler.names
        await asyncio.sleep(10)
        assert worker.process.is_running
    await turns()
    assert not scheduler.models
    assert not starts.alive()
    await end(scheduler, starts)


async def test_a_model_that_is_removed_while_it_comes_or_goes_tells_all_who_asked() -> None:
    starts = FakeStarts(load_seconds=2.0, stop_seconds=2.0)
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    loading = asyncio.create_task(scheduler.load(model, wait=True))
    await asyncio.sleep(1)
    scheduler.remove("fake")
    with pytest.raises(ModelNotFound):
        await loading
    model = scheduler.add(fake_entry())
    await scheduler.load(model, wait=True)
    unloading = asyncio.create_task(scheduler.unload(model))
    await asyncio.sleep(1)
    scheduler.remove("fake")
    assert (await unloading).freed_bytes
    assert not scheduler.models
    await end(scheduler, starts)


async def test_a_removal_that_is_taken_back_in_time_changes_nothing() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    async with scheduler.lease(model):
        scheduler.remove("fake")
        assert scheduler.add(fake_entry()) is model
    assert (await lease_once(scheduler, model)).process is starts.processes[0]
    await end(scheduler, starts)


async def test_changed_settings_replace_the_worker_when_its_requests_are_done() -> None:
    starts, files = FakeStarts(), FakeFiles()
    scheduler = fake_scheduler(starts, fake_entry(), files=files)
    model = scheduler.models["fake"]
    async with scheduler.lease(model) as worker:
        scheduler.add(fake_entry(context_length=99))
        await asyncio.sleep(5)
        assert worker.process.is_running
    assert (await lease_once(scheduler, model)).process is starts.processes[1]
    assert files.looked_for == ["fake", "fake"]
    await end(scheduler, starts)


async def test_a_changed_policy_leaves_the_worker_alone() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, fake_entry(aliases=("old",)))
    model = scheduler.models["fake"]
    await lease_once(scheduler, model)
    scheduler.add(fake_entry(aliases=("new",), is_pinned=True))
    assert scheduler.names.keys() == {"fake", "new"}
    assert scheduler.status(model).is_pinned
    await lease_once(scheduler, model)
    assert len(starts.times) == 1
    await end(scheduler, starts)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5])
async def test_settings_that_change_while_the_model_comes_begin_that_anew_and_nobody_is_refused(seconds: float) -> None:
    starts, files = FakeStarts(load_seconds=2.0), FakeFiles(seconds=1.0)
    scheduler = fake_scheduler(starts, fake_entry(), files=files)
    model = scheduler.models["fake"]
    asking = asyncio.create_task(lease_once(scheduler, model))
    await asyncio.sleep(seconds)
    scheduler.add(fake_entry(context_length=99))
    await asking
    assert asyncio.get_running_loop().time() == pytest.approx(seconds + 3.0)
    assert len(files.looked_for) == (2 if seconds else 1)  # without time the first search has not begun yet
    await end(scheduler, starts)
