"""Models that are loaded anew with another configuration: what is checked first, who waits, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from modelhost.engines.load_config import LoadConfig
from modelhost.errors import (
    InsufficientMemory,
    InvalidRequest,
    ModelUnloaded,
    UnsupportedParameter,
    WorkerStartFailed,
)
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import State
from tests.support.fake_workers import (
    CONTEXT,
    FakeFiles,
    FakeStarts,
    crash,
    end,
    fake_entry,
    fake_scheduler,
    lease_once,
    state_of,
    turns,
)

pytestmark = pytest.mark.usefixtures("virtual_time")

SHORT = LoadConfig(max_model_len=1024)
PLAIN = LoadConfig()


def contexts(starts: FakeStarts) -> list[int]:
    """The context of each start, in their order."""
    return [launch.config["context_length"] for launch in starts.launches]


@asynccontextmanager
async def loaded(
    files: FakeFiles | None = None, *, budget: dict[str, int] | None = None, **settings: Any
) -> AsyncIterator[tuple[FakeStarts, Scheduler, HostedModel]]:
    """One model that is loaded as its entry says."""
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, fake_entry(**settings), files=files, budget=budget)
    model = scheduler.models["fake"]
    await scheduler.load(model, wait=True)
    yield starts, scheduler, model
    await end(scheduler, starts)


async def test_a_loaded_model_is_loaded_anew_with_a_configuration_and_says_so() -> None:
    async with loaded() as (starts, scheduler, model):
        begun = await scheduler.load_with(model, SHORT, wait=True)
        assert (begun.state, contexts(starts)) == (State.READY, [CONTEXT, 1024])
        status = scheduler.status(model)
        assert (status.load_config, status.is_config_temporary) == ({"max_model_len": 1024}, True)
        assert status.loads == 2


async def test_a_model_that_was_never_loaded_is_loaded_with_its_configuration_at_once() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    await scheduler.load_with(model, SHORT, wait=True)
    assert contexts(starts) == [1024]
    await end(scheduler, starts)


async def test_the_next_plain_load_has_the_earlier_configuration_again() -> None:
    async with loaded() as (starts, scheduler, model):
        await scheduler.load_with(model, SHORT, wait=True)
        await scheduler.load_with(model, PLAIN, wait=True)
        assert contexts(starts) == [CONTEXT, 1024, CONTEXT]
        assert scheduler.status(model).load_config == {}


async def test_a_configuration_that_is_to_stay_outlives_plain_loads_and_unloading() -> None:
    async with loaded() as (starts, scheduler, model):
        await scheduler.load_with(model, SHORT, persists=True, wait=True)
        await scheduler.load_with(model, PLAIN, wait=True)
        assert contexts(starts) == [CONTEXT, 1024]
        assert scheduler.status(model).is_config_temporary is False
        await scheduler.unload(model)
        await lease_once(scheduler, model)
        assert contexts(starts) == [CONTEXT, 1024, 1024]


async def test_another_configuration_is_laid_over_the_one_that_stays() -> None:
    async with loaded() as (starts, scheduler, model):
        await scheduler.load_with(model, SHORT, persists=True, wait=True)
        await scheduler.load_with(model, LoadConfig(max_model_len=2048), wait=True)
        await scheduler.load_with(model, PLAIN, wait=True)
        assert contexts(starts) == [CONTEXT, 1024, 2048, 1024]


async def test_a_configuration_goes_when_its_worker_is_unloaded_but_not_when_that_dies() -> None:
    async with loaded() as (starts, scheduler, model):
        await scheduler.load_with(model, SHORT, wait=True)
        await crash(starts, model)
        await lease_once(scheduler, model)
        assert contexts(starts) == [CONTEXT, 1024, 1024]
        await scheduler.unload(model)
        assert scheduler.status(model).load_config == {}
        await lease_once(scheduler, model)
        assert contexts(starts)[3:] == [CONTEXT]


async def test_requests_at_work_end_first_and_those_that_come_get_the_new_worker() -> None:
    async with loaded() as (starts, scheduler, model):
        async with scheduler.lease(model) as old:
            begun = await scheduler.load_with(model, SHORT)
            assert begun.state is State.QUEUED
            later = asyncio.create_task(lease_once(scheduler, model))
            await turns()
            assert (contexts(starts), later.done(), model.worker) == ([CONTEXT], False, old)
        new = await later
        assert new is not old
        assert contexts(starts) == [CONTEXT, 1024]


async def test_force_cuts_off_what_is_at_work_and_not_what_waits() -> None:
    async with loaded(max_in_flight=1) as (starts, scheduler, model), scheduler.lease(model):
        waiting = asyncio.create_task(lease_once(scheduler, model))
        await turns()
        await scheduler.load_with(model, SHORT, force=True, wait=True)
        await waiting
        assert contexts(starts) == [CONTEXT, 1024]


async def test_force_hastens_a_reload_that_somebody_else_waits_for() -> None:
    async with loaded() as (starts, scheduler, model), scheduler.lease(model):
        first = asyncio.create_task(scheduler.load_with(model, SHORT, wait=True))
        await turns()
        await scheduler.load_with(model, SHORT, force=True, wait=True)
        await first
        assert contexts(starts) == [CONTEXT, 1024]


@pytest.mark.parametrize(
    "config",
    [
        LoadConfig(max_model_len=CONTEXT),
        LoadConfig(dtype="auto", quantization="none", tensor_parallel_size=1, pipeline_parallel_size=1),
        LoadConfig(enforce_eager=False, enable_prefix_caching=True, gpu_memory_utilization=0.8),
    ],
    ids=str,
)
async def test_what_is_so_anyway_reloads_nothing(config: LoadConfig) -> None:
    async with loaded() as (starts, scheduler, model):
        assert (await scheduler.load_with(model, config, wait=True)).state is State.READY
        assert contexts(starts) == [CONTEXT]
        assert scheduler.status(model).load_config == {}


async def test_the_same_configuration_twice_is_one_reload() -> None:
    async with loaded() as (starts, scheduler, model):
        await asyncio.gather(*(scheduler.load_with(model, SHORT, wait=True) for _ in range(3)))
        await scheduler.load_with(model, SHORT, wait=True)
        assert contexts(starts) == [CONTEXT, 1024]


async def test_what_the_engine_cannot_honour_is_named_field_by_field_and_nothing_is_unloaded() -> None:
    async with loaded() as (starts, scheduler, model):
        config = LoadConfig(max_model_len=1024, dtype="bfloat16", tensor_parallel_size=2)
        with pytest.raises(UnsupportedParameter, match=r"dtype: .*tensor_parallel_size: ") as caught:
            await scheduler.load_with(model, config)
        assert caught.value.param == "dtype"
        assert set(caught.value.details["fields"]) == {"dtype", "tensor_parallel_size"}
        assert (state_of(scheduler, model), contexts(starts)) == (State.READY, [CONTEXT])


async def test_a_longer_context_than_the_model_was_made_for_is_refused_with_the_longest() -> None:
    files = FakeFiles()
    files.longest_context = 8192
    async with loaded(files) as (starts, scheduler, model):
        with pytest.raises(InvalidRequest, match="8,192 tokens at most") as caught:
            await scheduler.load_with(model, LoadConfig(max_model_len=8193))
        assert (caught.value.param, caught.value.details["maximum"]) == ("max_model_len", 8192)
        assert contexts(starts) == [CONTEXT]
        await scheduler.load_with(model, LoadConfig(max_model_len=8192), wait=True)


async def test_what_cannot_fit_is_refused_before_anything_is_unloaded() -> None:
    files = FakeFiles()
    files.bytes_per_token = 1
    async with loaded(files, budget={"ram": 2000}) as (starts, scheduler, model):
        with pytest.raises(InsufficientMemory, match="does not fit"):
            await scheduler.load_with(model, LoadConfig(max_model_len=2000))
        assert state_of(scheduler, model) is State.READY
        await scheduler.load_with(model, LoadConfig(max_model_len=1999), wait=True)
        assert scheduler.ledger.occupancy.used() == {"ram": 2000}
        assert contexts(starts) == [CONTEXT, 1999]


async def test_memory_of_the_worker_that_goes_counts_as_free() -> None:
    files = FakeFiles()
    async with loaded(files) as (_, scheduler, model):
        await turns()
        await scheduler.load_with(model, SHORT, wait=True)
        assert files.headroom.freed_bytes == 1


async def test_a_reload_that_fails_brings_the_earlier_configuration_back_and_says_so() -> None:
    async with loaded() as (starts, scheduler, model):
        starts.failures = 1
        waiting = asyncio.create_task(scheduler.load_with(model, SHORT, wait=True))
        await turns()
        request = asyncio.create_task(lease_once(scheduler, model))
        with pytest.raises(WorkerStartFailed, match=r"no luck fake has its earlier configuration back, and is loaded"):
            await waiting
        await request
        assert contexts(starts) == [CONTEXT, 1024, CONTEXT]
        status = scheduler.status(model)
        assert (status.state, status.load_config) == (State.READY, {})
        assert "earlier configuration" in (status.last_error or "")


async def test_listeners_are_told_of_a_reload_that_fails() -> None:
    async with loaded() as (starts, scheduler, model):
        starts.failures = 1
        async with scheduler.events() as events:
            await scheduler.load_with(model, SHORT)
            async for event in events.read():
                if event.kind == "reload_failed":
                    break
        assert event.message == "no luck fake has its earlier configuration back, and is loaded with it again."
        assert "reload_failed" in [each.kind for each in model.log().events]


async def test_a_want_of_memory_is_not_met_with_a_smaller_context_than_was_asked_for() -> None:
    async with loaded() as (starts, scheduler, model):
        starts.failures = 1
        starts.error = lambda: WorkerStartFailed("full", model="fake", worker="fake/0", out_of_memory=True)
        with pytest.raises(WorkerStartFailed, match="full"):
            await scheduler.load_with(model, SHORT, wait=True)
        await lease_once(scheduler, model)
        assert contexts(starts) == [CONTEXT, 1024, CONTEXT]


async def test_a_first_load_that_fails_leaves_the_model_unloaded_as_its_entry_has_it() -> None:
    starts = FakeStarts()
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    starts.failures = 1
    with pytest.raises(WorkerStartFailed, match="loaded with it when it is wanted"):
        await scheduler.load_with(model, SHORT, wait=True)
    assert state_of(scheduler, model) is State.UNLOADED
    await lease_once(scheduler, model)
    assert contexts(starts) == [1024, CONTEXT]
    await end(scheduler, starts)


async def test_a_configuration_that_is_to_stay_does_not_if_it_fails() -> None:
    async with loaded() as (starts, scheduler, model):
        starts.failures = 1
        with pytest.raises(WorkerStartFailed):
            await scheduler.load_with(model, SHORT, persists=True, wait=True)
        await lease_once(scheduler, model)
        await scheduler.unload(model)
        await lease_once(scheduler, model)
        assert contexts(starts) == [CONTEXT, 1024, CONTEXT, CONTEXT]


async def test_who_unloads_a_model_ends_its_reload() -> None:
    async with loaded() as (starts, scheduler, model):
        async with scheduler.lease(model):
            waiting = asyncio.create_task(scheduler.load_with(model, SHORT, wait=True))
            await turns()
            await scheduler.unload(model, force=True)
        with pytest.raises(ModelUnloaded):
            await waiting
        await lease_once(scheduler, model)
        assert contexts(starts) == [CONTEXT, CONTEXT]


async def test_the_last_configuration_wins_and_the_one_before_it_is_said_to_be_overtaken() -> None:
    async with loaded() as (starts, scheduler, model):
        async with scheduler.lease(model):
            first = asyncio.create_task(scheduler.load_with(model, SHORT, wait=True))
            await turns()
            second = asyncio.create_task(scheduler.load_with(model, LoadConfig(max_model_len=2048), wait=True))
            await turns()
        with pytest.raises(ModelUnloaded, match="another configuration"):
            await first
        await second
        assert contexts(starts) == [CONTEXT, 2048]


async def test_a_change_of_its_entry_takes_the_configuration_away() -> None:
    async with loaded() as (starts, scheduler, model):
        await scheduler.load_with(model, SHORT, persists=True, wait=True)
        scheduler.add(fake_entry(context_length=512))
        await lease_once(scheduler, model)
        assert contexts(starts)[-1] == 512
        assert scheduler.status(model).load_config == {}


async def test_to_persist_nothing_is_refused() -> None:
    async with loaded() as (_, scheduler, model):
        with pytest.raises(InvalidRequest, match="name the configuration") as caught:
            await scheduler.load_with(model, PLAIN, persists=True)
        assert caught.value.param == "persist"


async def test_a_configuration_in_force_can_be_made_to_stay_without_a_reload() -> None:
    async with loaded() as (starts, scheduler, model):
        await scheduler.load_with(model, SHORT, wait=True)
        await scheduler.load_with(model, SHORT, persists=True, wait=True)
        assert scheduler.status(model).is_config_temporary is False
        assert contexts(starts) == [CONTEXT, 1024]
