"""What the scheduler tells of its models, and what it does about workers that say nothing."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelhost.errors import WorkerCrashed, WorkerStartFailed
from modelhost.meters import METERS
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import ModelEvent, State
from tests.support.fake_process import FakeRequest
from tests.support.fake_workers import (
    FakeFiles,
    FakeProcess,
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

ONE_AT_A_TIME = {MODELS: 1}
LOOKING = "looking after workers"


def _ants_and_bees(starts: FakeStarts, **more: Any) -> tuple[Scheduler, HostedModel, HostedModel]:
    """Two models of which one may be loaded."""
    scheduler = fake_scheduler(starts, fake_entry("ant"), fake_entry("bee"), **{"budget": ONE_AT_A_TIME, **more})
    return scheduler, scheduler.models["ant"], scheduler.models["bee"]


# The watchdog.


async def test_a_worker_that_is_silent_while_it_has_work_is_ended_and_replaced() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, stall_timeout=20.0)
    async with scheduler.lease(model) as worker:
        worker.requests.add(FakeRequest(waiting_since=1.0))
        await asyncio.sleep(19)
        assert worker.process.is_running
        await asyncio.sleep(7)
        assert not worker.process.is_running
        with pytest.raises(WorkerCrashed, match="produced nothing"):
            await worker.call("chat", {})
    await asyncio.sleep(2)
    assert state_of(scheduler, model) is State.READY
    await end(scheduler, starts)


async def test_workers_that_talk_or_have_no_work_or_are_held_up_by_their_client_are_left_alone() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, stall_timeout=2.0)
    assert model.worker is not None
    await asyncio.sleep(60)
    model.worker.requests.add(FakeRequest(waiting_since=1.0, is_paused=True))
    await asyncio.sleep(60)
    talking = FakeRequest(waiting_since=asyncio.get_running_loop().time())
    model.worker.requests.add(talking)
    for _ in range(60):
        talking.last_received_at = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
    assert len(starts.times) == 1
    await end(scheduler, starts)


async def test_each_model_has_a_patience_of_its_own() -> None:
    starts = FakeStarts()
    entries = (fake_entry("ant", stall_timeout=5.0), fake_entry("bee", stall_timeout=500.0))
    scheduler = fake_scheduler(starts, *entries)
    for model in scheduler.models.values():
        await lease_once(scheduler, model)
        assert model.worker is not None
        model.worker.requests.add(FakeRequest(waiting_since=asyncio.get_running_loop().time()))
    await asyncio.sleep(10)
    assert starts.models == ["ant", "bee", "ant"]
    await end(scheduler, starts)


async def test_a_worker_that_keeps_at_what_nobody_waits_for_is_replaced_when_the_others_are_served() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, stall_timeout=20.0)
    async with scheduler.lease(model) as worker:
        now = asyncio.get_running_loop().time()
        abandoned, talking = FakeRequest(waiting_since=now), FakeRequest(waiting_since=now)
        worker.requests.add(abandoned)
        worker.requests.add(talking)
        worker.requests.remove([abandoned], now)
        with capture_logs() as logs:
            for _ in range(40):
                talking.last_received_at = asyncio.get_running_loop().time()
                await asyncio.sleep(1)
        assert worker.process.is_running
        assert [log["event"] for log in logs if log["log_level"] == "error"] == ["worker_does_abandoned_work"]
        worker.requests.remove([talking], asyncio.get_running_loop().time())
    await asyncio.sleep(2)
    assert not worker.process.is_running
    assert state_of(scheduler, model) is State.READY
    await end(scheduler, starts)


async def test_a_worker_that_lets_go_of_what_nobody_waits_for_stays() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts, stall_timeout=20.0)
    assert model.worker is not None
    request = FakeRequest(waiting_since=asyncio.get_running_loop().time())
    model.worker.requests.add(request)
    model.worker.requests.remove([request], asyncio.get_running_loop().time())
    await asyncio.sleep(10)
    request.is_closed = True
    await asyncio.sleep(100)
    assert len(starts.times) == 1
    await end(scheduler, starts)


async def test_a_round_that_fails_is_counted_and_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_descriptors(self: FakeProcess) -> Mapping[str, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    starts = FakeStarts()
    before = metric_value(METERS.background_faults, LOOKING)
    scheduler, model = await one_ready(starts, stall_timeout=20.0)
    with monkeypatch.context() as broken, capture_logs() as logs:
        broken.setattr(FakeProcess, "memory", out_of_descriptors)
        await asyncio.sleep(20)
    assert metric_value(METERS.background_faults, LOOKING) - before >= 3
    assert {"event": "background_fault", "task": LOOKING, "model": "fake"}.items() <= logs[-1].items()
    assert model.worker is not None
    model.worker.requests.add(FakeRequest(waiting_since=asyncio.get_running_loop().time()))
    await asyncio.sleep(40)
    assert len(starts.times) == 2
    await end(scheduler, starts)


async def test_a_model_is_unloaded_although_its_memory_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_descriptors(self: FakeProcess) -> Mapping[str, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    monkeypatch.setattr(FakeProcess, "memory", out_of_descriptors)
    await scheduler.unload(model)
    assert state_of(scheduler, model) is State.UNLOADED
    await end(scheduler, starts)


@pytest.mark.promise("vllm-crush.health.endpoint")
async def test_a_worker_that_cannot_be_reached_is_ended_and_replaced() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    (process,) = starts.alive()
    process.listens = False
    with capture_logs() as logs:
        await asyncio.sleep(10)
    assert not process.is_running
    assert len([log for log in logs if log["event"] == "worker_unreachable"]) == 1
    assert state_of(scheduler, model) is State.READY
    assert len(starts.alive()) == 1
    await end(scheduler, starts)


# What is told.


async def _told(scheduler: Scheduler, into: list[ModelEvent]) -> None:
    async with scheduler.events() as listener:
        async for event in listener.read():
            into += [event]


def _brief(events: list[ModelEvent]) -> list[tuple[Any, ...]]:
    return [(event.model, event.kind, event.state, event.progress) for event in events]


async def test_a_listener_hears_the_state_of_each_model_and_then_every_step_in_its_order() -> None:
    starts, files = FakeStarts(load_seconds=2.0, stop_seconds=1.0), FakeFiles(seconds=2.0)
    starts.progress = (0.5, 1.0)
    files.progress = (0.25, 0.252, 1.0)
    scheduler, ant, bee = _ants_and_bees(starts, files=files)
    events: list[ModelEvent] = []
    listening = asyncio.create_task(_told(scheduler, events))
    await turns()
    await lease_once(scheduler, ant)
    first = [("ant", "state", State.UNLOADED, None), ("bee", "state", State.UNLOADED, None)]
    loading = ("ant", "state", State.LOADING, None)
    assert _brief(events) == [
        *first,
        loading,
        ("ant", "progress", State.LOADING, 0.25),
        ("ant", "progress", State.LOADING, 1.0),
        loading,
        ("ant", "progress", State.LOADING, 0.5),
        ("ant", "progress", State.LOADING, 1.0),
        ("ant", "state", State.READY, None),
    ]
    assert [event.activity for event in events[2:8]] == ["download"] * 3 + ["load"] * 3
    del events[:]
    await lease_once(scheduler, bee)
    states = [(event.model, event.state) for event in events if event.kind == "state"]
    assert ("ant", State.STOPPING) in states
    assert ("bee", State.QUEUED) in states
    assert states[-1] == ("bee", State.READY)
    scheduler.remove("ant")
    await turns()
    assert _brief(events[-1:]) == [("ant", "removed", None, None)]
    await end(scheduler, starts)
    await listening


async def test_a_failure_is_told_with_its_reason() -> None:
    starts = FakeStarts()
    starts.failures = 1
    scheduler = fake_scheduler(starts, fake_entry())
    events: list[ModelEvent] = []
    listening = asyncio.create_task(_told(scheduler, events))
    await turns()
    with pytest.raises(WorkerStartFailed):
        await scheduler.load(scheduler.models["fake"], wait=True)
    await turns()
    assert (events[-1].state, events[-1].message) == (State.FAILED, "no luck")
    await end(scheduler, starts)
    await listening


async def test_the_status_tells_what_is_known() -> None:
    starts, files = FakeStarts(load_seconds=4.0), FakeFiles()
    starts.progress = (0.25, 0.5, 0.75, 1.0)
    scheduler = fake_scheduler(starts, fake_entry(aliases=("other",), max_in_flight=1), files=files)
    model = scheduler.models["fake"]
    empty = scheduler.status(model)
    assert (empty.state, empty.aliases, empty.need_bytes) == (State.UNLOADED, ("other",), None)
    assert (empty.size_bytes, empty.loaded_at, empty.last_used_at, empty.operations) == (None, None, None, ())
    waiting = [asyncio.create_task(lease_once(scheduler, model)) for _ in range(2)]
    await asyncio.sleep(2.5)
    loading = scheduler.status(model)
    assert (loading.state, loading.activity, loading.progress) == (State.LOADING, "load", 0.5)
    assert (loading.queue_length, loading.oldest_wait_seconds) == (2, 2.5)
    assert (loading.size_bytes, loading.need_bytes) == (1000, {"ram": 1})
    await asyncio.gather(*waiting)
    async with scheduler.lease(model):
        await turns()
        busy = scheduler.status(model)
    assert (busy.state, busy.in_flight, busy.queue_length, busy.progress) == (State.BUSY, 1, 0, None)
    assert (busy.slots, busy.context_length, busy.operations, busy.loads) == (4, 4096, ("chat",), 1)
    assert (busy.memory_bytes, busy.last_error) == ({"ram": 1}, None)
    assert busy.loaded_at is not None
    assert busy.last_used_at is not None
    await crash(starts, model)
    assert scheduler.status(model).loaded_at is None
    await end(scheduler, starts)


@pytest.mark.parametrize(
    ("options", "dtype", "quantization"),
    [
        ({}, "float16", "F16"),
        ({"dtype": "auto", "quantization": "none", "isq": "none"}, "float16", "F16"),
        ({"dtype": "float32"}, "float32", "F16"),
        ({"quantization": "awq"}, "float16", "awq"),
        ({"isq": "Q4K"}, "float16", "Q4K"),
    ],
)
def test_numbers_in_force_are_those_that_the_engine_is_told_else_those_of_the_files(
    options: dict[str, Any], dtype: str, quantization: str
) -> None:
    model = HostedModel(fake_entry())
    assert (model.dtype, model.quantization) == (None, None)
    found = FakeFiles().resolved(model.entry)
    spec = replace(found.spec, options=options)
    model.resolved = replace(found, spec=spec, dtype="float16", quantization="F16")
    assert (model.dtype, model.quantization) == (dtype, quantization)
