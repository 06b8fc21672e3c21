"""The supervisor with fake workers in virtual time: who waits, who is served, who is refused, and when."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack

import pytest

from modelhost.errors import ModelFailed, QueueFull, QueueTimeout, ShuttingDown, WorkerStartFailed
from modelhost.meters import METERS
from modelhost.models.backoff import FIRST_SECONDS, HEALTHY_SECONDS, LONGEST_SECONDS
from modelhost.models.supervisor import STARTS_BEFORE_FAILED, State, Supervisor
from modelhost.workers.client import Worker
from tests.support.eventually import eventually_async
from tests.support.fake_workers import FakeStarts, fake_supervisor
from tests.support.virtual_time import run_in_virtual_time


async def _lease(supervisor: Supervisor) -> Worker:
    """Take a worker and give it back at once."""
    async with supervisor.lease() as worker:
        return worker


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _crashed(supervisor: Supervisor, starts: FakeStarts) -> None:
    """Let the worker die; returns when the supervisor knows."""
    starts.processes[-1].die()
    while supervisor.state is State.READY:  # noqa: ASYNC110 (virtual time: nothing is waited for)
        await asyncio.sleep(0)


def test_start_returns_when_the_worker_is_ready() -> None:
    async def work() -> None:
        starts = FakeStarts(load_seconds=3.0)
        supervisor = fake_supervisor(starts)
        assert supervisor.state is State.LOADING
        await supervisor.start()
        assert supervisor.state is State.READY
        assert asyncio.get_running_loop().time() == 3.0
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_a_first_start_that_fails_is_not_tried_again() -> None:
    async def work() -> None:
        starts = FakeStarts()
        starts.failures = 1
        with pytest.raises(WorkerStartFailed, match="no luck"):
            await fake_supervisor(starts).start()
        await asyncio.sleep(100)
        assert len(starts.times) == 1

    run_in_virtual_time(work())


def test_requests_over_the_limit_wait_and_are_served_in_the_order_they_came() -> None:
    async def work() -> None:
        supervisor = fake_supervisor(FakeStarts(), max_in_flight=1)
        await supervisor.start()
        served: list[int] = []

        async def ask(number: int) -> None:
            async with supervisor.lease():
                served.append(number)
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as clients:
            for number in range(4):
                clients.create_task(ask(number))
        assert served == [0, 1, 2, 3]
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_a_late_request_does_not_overtake_one_that_waits() -> None:
    async def work() -> None:
        supervisor = fake_supervisor(FakeStarts(), max_in_flight=1)
        await supervisor.start()
        served: list[str] = []

        async def ask(who: str) -> None:
            async with supervisor.lease():
                served.append(who)

        async with AsyncExitStack() as first:
            await first.enter_async_context(supervisor.lease())
            waiting = asyncio.create_task(ask("early"))
            await _turns()
        # The place is free again, but promised to the one that waits, which has not run yet.
        await ask("late")
        await waiting
        assert served == ["early", "late"]
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_a_full_queue_refuses_at_once_and_says_how_many_wait() -> None:
    async def work() -> None:
        starts = FakeStarts()
        supervisor = fake_supervisor(starts, queue_size=2)
        await supervisor.start()
        await _crashed(supervisor, starts)
        waiting = [asyncio.create_task(_lease(supervisor)) for _ in range(2)]
        await _turns()
        with pytest.raises(QueueFull, match="2 requests wait") as refused:
            await _lease(supervisor)
        assert refused.value.retry_after_seconds >= 1
        assert refused.value.details["state"] == "restarting"
        await asyncio.gather(*waiting)
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_a_wait_ends_after_the_request_timeout_and_leaves_nothing_behind() -> None:
    async def work() -> None:
        starts = FakeStarts(load_seconds=100.0)
        supervisor = fake_supervisor(starts, request_timeout_seconds=30.0)
        await supervisor.start()
        await _crashed(supervisor, starts)
        began = asyncio.get_running_loop().time()
        with pytest.raises(QueueTimeout, match="restarting for the 30 s"):
            await _lease(supervisor)
        assert asyncio.get_running_loop().time() - began == pytest.approx(30.0)
        assert supervisor.queue_length == 0
        await supervisor.stop(0)

    run_in_virtual_time(work())


@pytest.mark.parametrize("turns_between", range(6))
def test_a_worker_granted_in_the_moment_its_client_leaves_goes_to_the_next(turns_between: int) -> None:
    async def work() -> None:
        supervisor = fake_supervisor(FakeStarts(), max_in_flight=1)
        await supervisor.start()
        release = asyncio.Event()

        async def hold() -> None:
            async with supervisor.lease():
                await release.wait()

        holding = asyncio.create_task(hold())
        await _turns()
        leaving, next_one = asyncio.create_task(hold()), asyncio.create_task(hold())
        await _turns()
        release.set()
        await _turns(turns_between)
        leaving.cancel()
        async with asyncio.timeout(1):
            await asyncio.gather(holding, leaving, next_one, return_exceptions=True)
        assert not next_one.cancelled()
        assert (supervisor.in_flight, supervisor.queue_length) == (0, 0)
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_a_worker_granted_in_the_moment_of_the_timeout_is_not_lost() -> None:
    async def work() -> None:
        supervisor = fake_supervisor(FakeStarts(), max_in_flight=1, request_timeout_seconds=5.0)
        await supervisor.start()
        loop = asyncio.get_running_loop()
        outcomes = []
        for offset in (-0.001, 0.0, 0.001):
            end = loop.time() + 5.0

            async def hold(until: float = end + offset) -> None:
                async with supervisor.lease():
                    await asyncio.sleep(until - loop.time())

            holding = asyncio.create_task(hold())
            await asyncio.sleep(0)
            (outcome,) = await asyncio.gather(_lease(supervisor), return_exceptions=True)
            outcomes.append(type(outcome))
            await holding
            assert (supervisor.in_flight, supervisor.queue_length) == (0, 0)
        assert outcomes[0] is Worker
        assert outcomes[2] is QueueTimeout
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_requests_wait_for_the_restart_and_get_the_new_worker() -> None:
    async def work() -> None:
        starts = FakeStarts()
        supervisor = fake_supervisor(starts)
        await supervisor.start()
        await _crashed(supervisor, starts)
        assert supervisor.worker is None
        workers = await asyncio.gather(*(_lease(supervisor) for _ in range(3)))
        assert {worker.process for worker in workers} == {starts.processes[1]}
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_repeated_failures_refuse_those_who_wait_and_then_everyone_at_once_until_a_start_succeeds() -> None:
    async def work() -> None:
        starts = FakeStarts(load_seconds=0.0)
        supervisor = fake_supervisor(starts)
        await supervisor.start()
        starts.failures = STARTS_BEFORE_FAILED + 2
        await _crashed(supervisor, starts)
        waiting = [asyncio.create_task(_lease(supervisor)) for _ in range(2)]
        refused = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in refused] == [ModelFailed, ModelFailed]
        assert refused[0] is not refused[1]
        assert supervisor.state is State.FAILED
        now = asyncio.get_running_loop().time()
        with pytest.raises(ModelFailed, match="no luck") as at_once:
            await _lease(supervisor)
        assert asyncio.get_running_loop().time() == now
        assert at_once.value.retry_after_seconds >= 1
        await eventually_async(lambda: supervisor.state is State.READY, seconds=100)
        await _lease(supervisor)
        assert supervisor.last_error is None
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_a_crash_loop_is_slowed_down_to_the_longest_pause() -> None:
    async def work() -> None:
        starts = FakeStarts(load_seconds=0.0)
        supervisor = fake_supervisor(starts)
        await supervisor.start()
        for _ in range(12):
            await _crashed(supervisor, starts)
            await eventually_async(lambda: supervisor.state is State.READY, seconds=100)
        pauses = [later - earlier for earlier, later in zip(starts.times, starts.times[1:], strict=False)]
        assert pauses[0] == pytest.approx(FIRST_SECONDS, abs=0.1)
        assert pauses[-1] == pytest.approx(LONGEST_SECONDS, abs=0.1)
        assert all(later >= earlier - 0.1 for earlier, later in itertools.pairwise(pauses))
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_a_crash_after_a_healthy_life_is_mended_quickly() -> None:
    async def work() -> None:
        starts = FakeStarts(load_seconds=0.0)
        supervisor = fake_supervisor(starts)
        await supervisor.start()
        for _ in range(8):
            await _crashed(supervisor, starts)
            await eventually_async(lambda: supervisor.state is State.READY, seconds=100)
        await asyncio.sleep(HEALTHY_SECONDS)
        await _crashed(supervisor, starts)
        died = asyncio.get_running_loop().time()
        await _lease(supervisor)
        assert starts.times[-1] - died == pytest.approx(FIRST_SECONDS)
        await supervisor.stop(0)

    run_in_virtual_time(work())


def test_stopping_refuses_new_and_waiting_requests_and_lets_those_at_work_finish() -> None:
    async def work() -> None:
        starts = FakeStarts()
        supervisor = fake_supervisor(starts, max_in_flight=1)
        await supervisor.start()
        finished = asyncio.Event()

        async def hold() -> None:
            async with supervisor.lease():
                await asyncio.sleep(5)
                finished.set()

        holding = asyncio.create_task(hold())
        await _turns()
        waiting = asyncio.create_task(_lease(supervisor))
        await _turns()
        stopping = asyncio.create_task(supervisor.stop(10))
        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(ShuttingDown):
            await _lease(supervisor)
        await stopping
        assert finished.is_set()
        assert not starts.processes[0].is_running
        assert asyncio.get_running_loop().time() == pytest.approx(6.0)
        await holding

    run_in_virtual_time(work())


def test_stopping_waits_no_longer_than_allowed() -> None:
    async def work() -> None:
        starts = FakeStarts()
        supervisor = fake_supervisor(starts)
        await supervisor.start()

        async def hold() -> None:
            async with supervisor.lease():
                await asyncio.sleep(1000)

        holding = asyncio.create_task(hold())
        await _turns()
        before = asyncio.get_running_loop().time()
        await supervisor.stop(2)
        assert asyncio.get_running_loop().time() - before == pytest.approx(2.0)
        assert not starts.processes[0].is_running
        holding.cancel()

    run_in_virtual_time(work())


def test_a_worker_that_dies_while_the_host_drains_is_not_started_again() -> None:
    async def work() -> None:
        starts = FakeStarts()
        supervisor = fake_supervisor(starts)
        await supervisor.start()

        async def hold() -> None:
            async with supervisor.lease():
                await asyncio.sleep(20)

        holding = asyncio.create_task(hold())
        await _turns()
        stopping = asyncio.create_task(supervisor.stop(30))
        await _turns()
        starts.processes[0].die()
        await stopping
        assert len(starts.times) == 1
        assert supervisor.state is State.STOPPED
        await holding

    run_in_virtual_time(work())


@pytest.mark.parametrize("seconds_after_the_crash", [0.0, FIRST_SECONDS / 2, FIRST_SECONDS + 0.5, FIRST_SECONDS + 1.0])
def test_stopping_during_a_restart_leaves_no_worker(seconds_after_the_crash: float) -> None:
    async def work() -> None:
        starts = FakeStarts(load_seconds=1.0)
        supervisor = fake_supervisor(starts)
        await supervisor.start()
        await _crashed(supervisor, starts)
        await asyncio.sleep(seconds_after_the_crash)
        await supervisor.stop(0)
        await asyncio.sleep(100)
        assert supervisor.state is State.STOPPED
        assert not any(process.is_running for process in starts.processes)
        assert METERS.model_ready.labels("fake")._value.get() == 0

    run_in_virtual_time(work())
