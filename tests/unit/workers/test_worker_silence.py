"""Silent, stalled and ended workers, as the requests at work see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.vllm.engine import Vllm
from modelhost.errors import (
    EngineError,
    ModelhostError,
    ModelUnloaded,
    ShuttingDown,
    WorkerCrashed,
)
from modelhost.workers.endings import unloaded_by_force
from modelhost.workers.worker import Worker
from tests.support.answering_worker import STREAM_HEAD, answering_worker, chunk, read_all
from tests.support.eventually import eventually_async
from tests.support.fake_process import FakeProcess, FakeRequest


@asynccontextmanager
async def _held_open() -> AsyncIterator[tuple[Worker, FakeProcess, asyncio.Event]]:
    """A worker that sends one event at the word, and nothing else until it dies."""
    speak = asyncio.Event()

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        speaking = asyncio.create_task(speak.wait())
        speaking.add_done_callback(lambda task: task.cancelled() or writer.write(chunk(b"data: 1\n\n")))
        await process.wait()
        speaking.cancel()
        writer.transport.abort()

    async with answering_worker(answer) as (worker, process):
        yield worker, process, speak


async def test_a_worker_is_silent_from_the_start_of_its_work_until_its_first_output_and_again() -> None:
    now = asyncio.get_running_loop().time
    async with _held_open() as (worker, _, speak):
        assert (worker.silent_seconds(now()), worker.open_requests) == (None, 0)
        began = now()
        async with worker.stream("chat", {}) as blocks:
            assert worker.open_requests == 1
            assert worker.last_output_at >= began  # the head of the answer
            assert worker.silent_seconds(worker.last_output_at + 100) == pytest.approx(100)
            speak.set()
            assert await blocks.read()
            spoke_at = worker.last_output_at
            assert began < spoke_at <= now()
            assert worker.silent_seconds(spoke_at + 7) == pytest.approx(7)
        assert (worker.silent_seconds(now() + 100), worker.open_requests) == (None, 0)
        assert worker.last_output_at == spoke_at


async def test_a_request_after_a_long_rest_does_not_find_its_worker_silent() -> None:
    async with _held_open() as (worker, _, _):
        loop = asyncio.get_running_loop()
        long_ago = FakeRequest(waiting_since=loop.time() - 2000, last_received_at=loop.time() - 1000)
        worker.requests.add(long_ago)
        worker.requests.remove([long_ago], loop.time())
        async with worker.stream("chat", {}):
            (request,) = worker.requests
            since = max(request.waiting_since, request.last_received_at)
            assert worker.silent_seconds(since + 3) == pytest.approx(3)


async def test_a_second_request_does_not_hide_that_the_first_one_waits() -> None:
    async with _held_open() as (worker, _, _):
        now = asyncio.get_running_loop().time()
        worker.requests.add(FakeRequest(waiting_since=now - 100, last_received_at=now - 100))
        worker.requests.add(
            FakeRequest(waiting_since=now, last_received_at=now - 100)
        )  # not even the head of its answer came
        assert worker.silent_seconds(now) == pytest.approx(100)


async def test_an_answer_whose_client_reads_slowly_is_no_silence_of_the_worker() -> None:
    block = b"data: " + b"x" * 100_000 + b"\n\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for _ in range(20):
            writer.write(chunk(block))
        await reader.read()

    async with answering_worker(answer) as (worker, _):
        now = asyncio.get_running_loop().time
        async with worker.stream("chat", {}) as blocks:
            (connection,) = worker.requests
            await eventually_async(lambda: connection.is_paused)
            assert worker.silent_seconds(now() + 1000) is None
            connection.waiting_since = connection.last_received_at = now() - 1000
            paused_until = now()
            assert await blocks.read()
            assert connection.waiting_since >= paused_until
            since = max(connection.waiting_since, connection.last_received_at)
            assert worker.silent_seconds(since + 3) == pytest.approx(3)


async def _reading(worker: Worker) -> asyncio.Task[bytes]:
    reading = asyncio.create_task(read_all(worker))
    await eventually_async(lambda: worker.last_output_at > 0)
    return reading


async def test_a_stalled_worker_is_ended_and_its_requests_are_told_why() -> None:
    async with _held_open() as (worker, process, _):
        reading = await _reading(worker)
        await worker.end_stalled(300)
        with pytest.raises(
            WorkerCrashed, match=r"produced nothing for 300 s while it had work and was ended\."
        ) as ended:
            await reading
    assert (ended.value.details["reason"], ended.value.details["silent_seconds"]) == ("stalled", 300)
    assert ended.value.worker == process.name


async def test_requests_of_a_model_that_is_unloaded_by_force_are_told_so_and_its_memory_is_reported() -> None:
    async with _held_open() as (worker, _, _):
        reading = await _reading(worker)
        assert await worker.close(unloaded_by_force) == {"ram": 1000}
        with pytest.raises(ModelUnloaded, match=r"m was unloaded by force.*Try again"):
            await reading
        assert await worker.close() == {}


async def test_requests_of_a_host_that_stops_are_told_so() -> None:
    async with _held_open() as (worker, _, _):
        reading = await _reading(worker)
        await worker.close()
        with pytest.raises(ShuttingDown):
            await reading


async def test_a_worker_that_crashed_before_it_was_unloaded_has_crashed() -> None:
    async with _held_open() as (worker, process, _):
        reading = await _reading(worker)
        process.die()
        await worker.close(unloaded_by_force)
        with pytest.raises(WorkerCrashed, match="was ended by SIGKILL"):
            await reading


async def test_the_first_reason_of_an_end_holds() -> None:
    async with _held_open() as (worker, _, _):
        reading = await _reading(worker)
        await worker.end_stalled(12)
        await worker.close(unloaded_by_force)
        with pytest.raises(WorkerCrashed, match="for 12 s"):
            await reading


async def test_a_request_that_others_overtake_fails_with_an_engine_that_is_silent_about_prompts() -> None:
    hanging, let_through, let_go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"hang" in await reader.read(1000):
            hanging.set()
            await let_go.wait()
            return
        status = "400 No" if hanging.is_set() and not let_through.is_set() else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}".encode())

    async with answering_worker(answer) as (worker, process):
        worker.engine = Vllm()
        now = asyncio.get_running_loop().time
        hangs = asyncio.create_task(worker.call("chat", {"x": "hang"}))
        await hanging.wait()
        with pytest.raises(ModelhostError):
            await worker.call("chat", {})
        assert worker.end_stalled_requests(now() + 300, 299) == []  # a refusal takes no turn
        let_through.set()
        assert await worker.call("chat", {}) == {}
        assert len(worker.end_stalled_requests(now() + 300, 299)) == 1
        with pytest.raises(EngineError, match=r"did nothing about this request for 300(\.\d)? s"):
            await hangs
        assert process.is_running
        let_go.set()
        await eventually_async(lambda: worker.requests.abandoned_seconds(now() + 10) == 0)


async def test_a_request_that_hangs_while_others_are_answered_fails_alone_and_is_watched_on() -> None:
    hanging, let_go, other = asyncio.Event(), asyncio.Event(), asyncio.Event()
    progress = chunk(b'data: {"prompt_progress":{"processed":0}}\n\n')

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.read(100)
        if b"hang" in body:
            hanging.set()
            await let_go.wait()
            return
        writer.write(STREAM_HEAD + progress)
        await other.wait()
        writer.write(chunk(b"data: 1\n\n") + b"0\r\n\r\n")

    async with answering_worker(answer) as (worker, process):
        worker.engine = LlamaCpp()
        now = asyncio.get_running_loop().time
        hangs = asyncio.create_task(worker.call("chat", {"x": "hang"}))
        answered = asyncio.create_task(read_all(worker))
        await hanging.wait()
        await eventually_async(lambda: worker.last_output_at > 0)
        for request in worker.requests:
            if request.last_received_at > 0:
                request.waiting_since = now() + 300  # as if its last event had just come
        assert len(worker.end_stalled_requests(now() + 300, 299)) == 1
        with pytest.raises(EngineError, match=r"did nothing about this request for 300(\.\d)? s") as ended:
            await hangs
        assert ended.value.details["reason"] == "stalled"
        assert process.is_running
        other.set()
        assert await answered == b"data: 1\n\n"
        assert worker.requests.abandoned_seconds(now() + 10) > 9
        let_go.set()
        await eventually_async(lambda: worker.requests.abandoned_seconds(now() + 10) == 0)
