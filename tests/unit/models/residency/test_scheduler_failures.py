"""The scheduler when a worker dies or does not start: restarts, their pauses, and what the requests get."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from modelhost.errors import ModelFailed, ModelFileMissing, WorkerStartFailed
from modelhost.meters import METERS
from modelhost.models.residency.record import FIRST_SECONDS, HEALTHY_SECONDS, LONGEST_SECONDS
from modelhost.models.residency.status import State
from tests.support.eventually import eventually_async
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
    waiting_and_running,
)
from tests.support.metrics import metric_value

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_requests_wait_for_the_restart_and_get_the_new_worker() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    await crash(starts, model)
    assert model.worker is None
    assert state_of(scheduler, model) is State.QUEUED
    workers = await asyncio.gather(*(lease_once(scheduler, model) for _ in range(3)))
    assert {worker.process for worker in workers} == {starts.processes[1]}
    await end(scheduler, starts)


async def test_a_request_is_not_sent_to_a_worker_that_has_died_unnoticed() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    starts.processes[0].die()
    async with scheduler.lease(model) as worker:
        assert worker.process is starts.processes[1]
        assert waiting_and_running(scheduler, model) == (1, 0)
    await end(scheduler, starts)


async def test_a_crashed_worker_is_replaced_though_nobody_asks() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    exits = metric_value(METERS.worker_exits, "fake")
    await crash(starts, model)
    assert metric_value(METERS.model_ready, "fake") == 0
    assert metric_value(METERS.memory_bytes, "fake", "ram") == 0
    assert "was ended by SIGKILL" in (scheduler.status(model).last_error or "")
    await asyncio.sleep(FIRST_SECONDS + 1.1)
    assert state_of(scheduler, model) is State.READY
    assert metric_value(METERS.model_ready, "fake") == 1
    assert metric_value(METERS.worker_exits, "fake") == exits + 1
    assert scheduler.status(model).last_error is None
    await end(scheduler, starts)


async def test_requests_at_work_when_their_worker_dies_are_counted_out_once() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    async with scheduler.lease(model), scheduler.lease(model):
        await crash(starts, model)
        assert waiting_and_running(scheduler, model) == (0, 0)
        await asyncio.sleep(10)
        assert state_of(scheduler, model) is State.READY
        async with scheduler.lease(model):
            assert waiting_and_running(scheduler, model) == (1, 0)
    # Those of the dead worker are done, too, and take nothing from the count of the living one.
    assert waiting_and_running(scheduler, model) == (0, 0)
    assert metric_value(METERS.in_flight, "fake") == 0
    await end(scheduler, starts)


async def test_a_first_load_that_fails_is_told_and_not_tried_again_by_itself() -> None:
    starts = FakeStarts()
    starts.failures = 1
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    with pytest.raises(WorkerStartFailed, match="no luck"):
        await scheduler.load(model, wait=True)
    assert state_of(scheduler, model) is State.FAILED
    await asyncio.sleep(100)
    assert len(starts.times) == 1
    await lease_once(scheduler, model)
    await end(scheduler, starts)


async def test_files_that_cannot_be_found_are_told_too() -> None:
    starts, files = FakeStarts(), FakeFiles()
    files.failures = 2
    scheduler = fake_scheduler(starts, fake_entry(), files=files)
    model = scheduler.models["fake"]
    with pytest.raises(ModelFileMissing, match="no such file"):
        await scheduler.load(model, wait=True)
    await asyncio.sleep(1)
    with pytest.raises(ModelFailed, match="no such file"):
        await lease_once(scheduler, model)
    await asyncio.sleep(1)
    await lease_once(scheduler, model)
    assert files.looked_for == ["fake"] * 3
    await end(scheduler, starts)


async def test_a_restart_that_fails_refuses_those_who_wait_and_then_everyone_at_once_until_the_pause_is_over() -> None:
    starts = FakeStarts(load_seconds=0.0)
    scheduler, model = await one_ready(starts)
    starts.failures = 1
    await crash(starts, model)
    waiting = [asyncio.create_task(lease_once(scheduler, model)) for _ in range(2)]
    refused = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in refused] == [ModelFailed, ModelFailed]
    assert refused[0] is not refused[1]
    assert state_of(scheduler, model) is State.FAILED
    now = asyncio.get_running_loop().time()
    with pytest.raises(ModelFailed, match="no luck") as at_once:
        await lease_once(scheduler, model)
    assert asyncio.get_running_loop().time() == now
    assert at_once.value.retry_after_seconds >= 1
    await eventually_async(lambda: state_of(scheduler, model) is State.READY, seconds=100)
    await lease_once(scheduler, model)
    assert scheduler.status(model).last_error is None
    await end(scheduler, starts)


async def test_a_crash_loop_is_slowed_down_to_the_longest_pause() -> None:
    starts = FakeStarts(load_seconds=0.0)
    scheduler, model = await one_ready(starts)
    for _ in range(12):
        await crash(starts, model)
        await eventually_async(lambda: state_of(scheduler, model) is State.READY, seconds=100)
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts.times)]
    assert pauses[0] == pytest.approx(FIRST_SECONDS, abs=0.1)
    assert pauses[-1] == pytest.approx(LONGEST_SECONDS, abs=0.1)
    assert all(later >= earlier - 0.1 for earlier, later in itertools.pairwise(pauses))
    await end(scheduler, starts)


async def test_a_crash_after_a_healthy_life_is_mended_quickly() -> None:
    starts = FakeStarts(load_seconds=0.0)
    scheduler, model = await one_ready(starts)
    for _ in range(8):
        await crash(starts, model)
        await eventually_async(lambda: state_of(scheduler, model) is State.READY, seconds=100)
    await asyncio.sleep(HEALTHY_SECONDS)
    await crash(starts, model)
    died = asyncio.get_running_loop().time()
    await lease_once(scheduler, model)
    assert starts.times[-1] - died == pytest.approx(FIRST_SECONDS)
    await end(scheduler, starts)


@pytest.mark.promise("vllm-mcp.trouble.memory")
async def test_a_model_that_ran_out_of_memory_is_tried_once_more_with_half_of_its_context() -> None:
    starts = FakeStarts()
    starts.failures = 1
    starts.error = lambda: WorkerStartFailed("no memory", model="fake", worker="fake/0", out_of_memory=True)
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    await lease_once(scheduler, model)
    assert [launch.config["context_length"] for launch in starts.launches] == [4096, 2048]
    await crash(starts, model)
    await lease_once(scheduler, model)
    assert starts.launches[-1].config["context_length"] == 2048
    await end(scheduler, starts)


async def test_a_model_that_runs_out_of_memory_again_has_failed() -> None:
    starts = FakeStarts()
    starts.failures = 2
    starts.error = lambda: WorkerStartFailed("no memory", model="fake", worker="fake/0", out_of_memory=True)
    scheduler = fake_scheduler(starts, fake_entry())
    model = scheduler.models["fake"]
    with pytest.raises(ModelFailed, match="no memory") as failed:
        await lease_once(scheduler, model)
    assert failed.value.details["engine"] == "scripted"
    assert len(starts.times) == 2
    assert state_of(scheduler, model) is State.FAILED
    await end(scheduler, starts)


@pytest.mark.parametrize("where", ["files", "starts"])
async def test_a_fault_of_the_host_itself_while_loading_is_told_to_who_waits(where: str) -> None:
    starts, files = FakeStarts(), FakeFiles()
    faulty = files if where == "files" else starts
    faulty.failures, faulty.error = 1, lambda: ZeroDivisionError("oh")
    scheduler = fake_scheduler(starts, fake_entry(), files=files)
    model = scheduler.models["fake"]
    with pytest.raises(ModelFailed, match=r"fault of the host itself: ZeroDivisionError\('oh'\)"):
        await lease_once(scheduler, model)
    await asyncio.sleep(1)
    await lease_once(scheduler, model)
    await end(scheduler, starts)
