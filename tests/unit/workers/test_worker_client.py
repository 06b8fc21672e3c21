"""The host's side of the wire, against a listener that answers whatever the test says."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.scripted.engine import Scripted
from modelhost.engines.vllm.engine import Vllm
from modelhost.errors import (
    ContextLengthExceeded,
    EngineError,
    ModelhostError,
    ModelUnloaded,
    ShuttingDown,
    WorkerCrashed,
)
from modelhost.exchange.payloads import File, Form, Raw
from modelhost.workers.client import WorkerClient
from modelhost.workers.connection import is_listening
from modelhost.workers.endings import unloaded_by_force
from modelhost.workers.wire import EventBlocks
from modelhost.workers.worker import Worker
from tests.support.eventually import eventually_async
from tests.support.fake_process import FakeProcess, FakeRequest

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _whole(status: int, body: bytes) -> Answer:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))

    return answer


@asynccontextmanager
async def _worker(answer: Answer, seen: list[bytes] | None = None) -> AsyncIterator[tuple[Worker, FakeProcess]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        await answer(reader, writer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    process = FakeProcess()
    port = server.sockets[0].getsockname()[1]
    process.ready = replace(process.ready, url=f"http://127.0.0.1:{port}")
    worker = WorkerClient(process=process, engine=Scripted(), model="m", api_key="secret")
    try:
        yield worker, process
    finally:
        server.close()
        await worker.close()
        await server.wait_closed()


async def _read_all(worker: Worker) -> bytes:
    read = b""
    async with worker.stream("chat", {}) as blocks:
        while block := await blocks.read():
            read += block
    return read


async def test_a_chat_gets_what_its_worker_needs_where_the_request_is_silent() -> None:
    bodies: list[dict[str, Any]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{")
        bodies.append(orjson.loads(b"{" + await reader.readuntil(b"}")))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with _worker(answer) as (worker, process):
        process.ready = replace(process.ready, chat_stops=("end",), chat_defaults={"add_special_tokens": True})
        await worker.call("chat", {"a": 1})
        await worker.call("chat", {"add_special_tokens": False, "stop": "x"})
        await worker.call("completions", {"a": 1})
    assert bodies == [
        {"a": 1, "add_special_tokens": True, "stop": ["end"]},
        {"add_special_tokens": False, "stop": ["x", "end"]},
        {"a": 1},
    ]


async def test_a_request_carries_the_workers_key() -> None:
    seen: list[bytes] = []
    async with _worker(_whole(200, b'{"fine": 1}'), seen) as (worker, _):
        assert await worker.call("embeddings", {"input": "x"}) == {"fine": 1}
    assert b"Authorization: Bearer secret\r\n" in seen[0]
    assert seen[0].startswith(b"POST /v1/embeddings ")


async def test_an_error_answer_is_translated_by_the_engine() -> None:
    body = {"error": {"type": "exceed_context_size_error", "message": "m", "n_prompt_tokens": 9, "n_ctx": 8}}
    async with _worker(_whole(400, orjson.dumps(body))) as (worker, _):
        with pytest.raises(ContextLengthExceeded, match="is 8 tokens, and the prompt is too long: it has 9"):
            await worker.call("chat", {})
        with pytest.raises(ContextLengthExceeded):
            async with worker.stream("chat", {}):
                pytest.fail("a refused request is no stream")


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[]", b'{"error": "text"}'])
async def test_an_error_answer_in_no_known_shape_is_an_error_of_the_engine(body: bytes) -> None:
    async with _worker(_whole(500, body)) as (worker, _):
        with pytest.raises(EngineError):
            await worker.call("embeddings", {})


async def test_a_good_answer_that_is_no_json_is_an_error_of_the_engine() -> None:
    async with _worker(_whole(200, b"not json")) as (worker, _):
        with pytest.raises(EngineError, match="not JSON"):
            await worker.call("embeddings", {})


async def test_a_stream_is_read_to_its_end() -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + _chunk(b"data: 1\n\n") + _chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    async with _worker(answer) as (worker, _):
        read = await _read_all(worker)
    assert read == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("headers_sent", [True, False])
async def test_a_connection_lost_by_a_dying_worker_is_a_crash_with_its_last_lines(headers_sent: bool) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + _chunk(b"data: 1\n\n") if headers_sent else b"")
        await writer.drain()
        writer.transport.abort()
        process.die()

    async with _worker(answer) as (worker, process):
        with pytest.raises(WorkerCrashed, match="was ended by SIGKILL") as crashed:
            await _read_all(worker)
    assert crashed.value.details["stderr"] == ["the fake's last line"]
    assert crashed.value.source == {"kind": "worker", "model": "m", "worker": process.name}


async def test_a_connection_lost_by_a_living_worker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.workers.client.SECONDS_TO_LEARN_OF_A_CRASH", 0.05)

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with _worker(answer) as (worker, _):
        with pytest.raises(EngineError, match="still running"):
            await worker.call("embeddings", {})


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "left by somebody else"])
async def test_a_worker_at_whose_socket_nobody_listens_is_ended_and_the_request_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    monkeypatch.setattr("modelhost.workers.client.SECONDS_TO_LEARN_OF_A_CRASH", 0.05)
    path = tmp_path / "s.sock"
    if not is_deleted:
        with closing(socket.socket(socket.AF_UNIX)) as left:
            left.bind(str(path))
    process = FakeProcess()
    process.ready = replace(process.ready, url=f"unix://{path}")
    worker = WorkerClient(process=process, engine=Scripted(), model="m", api_key="secret")
    with pytest.raises(WorkerCrashed, match="did not listen at its address") as ended:
        await worker.call("embeddings", {})
    assert ended.value.details["reason"] == "unreachable"
    assert not process.is_running


async def test_a_worker_is_not_blamed_when_the_host_has_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_descriptors(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("modelhost.workers.client.SECONDS_TO_LEARN_OF_A_CRASH", 0.05)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", out_of_descriptors)
    process = FakeProcess()
    worker = WorkerClient(process=process, engine=Scripted(), model="m", api_key="secret")
    assert await is_listening(process.ready.url)
    with pytest.raises(EngineError, match="Too many open files"):
        await worker.call("embeddings", {})
    assert process.is_running


async def test_whether_somebody_listens_is_seen_by_connecting(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    assert not await is_listening(f"unix://{path}")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        assert await is_listening(f"unix://{path}")
        path.unlink()
        assert not await is_listening(f"unix://{path}")


async def test_leaving_a_stream_closes_its_connection() -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + _chunk(b"data: 1\n\n"))
        await writer.drain()
        await reader.read()
        gone.set()

    async with _worker(answer) as (worker, _):
        async with worker.stream("chat", {}) as blocks:
            await blocks.read()
        async with asyncio.timeout(5):
            await gone.wait()


@asynccontextmanager
async def _held_open() -> AsyncIterator[tuple[Worker, FakeProcess, asyncio.Event]]:
    """A worker that sends one event at the word, and nothing else until it dies."""
    speak = asyncio.Event()

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        speaking = asyncio.create_task(speak.wait())
        speaking.add_done_callback(lambda task: task.cancelled() or writer.write(_chunk(b"data: 1\n\n")))
        await process.wait()
        speaking.cancel()
        writer.transport.abort()

    async with _worker(answer) as (worker, process):
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
            writer.write(_chunk(block))
        await reader.read()

    async with _worker(answer) as (worker, _):
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


async def test_a_refused_and_a_whole_answer_leave_no_open_request() -> None:
    async with _worker(_whole(500, b"{}")) as (worker, _):
        with pytest.raises(EngineError):
            await worker.call("embeddings", {})
        assert worker.open_requests == 0
    async with _worker(_whole(200, b"{}")) as (worker, _):
        await worker.call("embeddings", {})
        assert worker.open_requests == 0
        assert worker.last_output_at <= asyncio.get_running_loop().time()


async def _reading(worker: Worker) -> asyncio.Task[bytes]:
    reading = asyncio.create_task(_read_all(worker))
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

    async with _worker(answer) as (worker, process):
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
    progress = _chunk(b'data: {"prompt_progress":{"processed":0}}\n\n')

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.read(100)
        if b"hang" in body:
            hanging.set()
            await let_go.wait()
            return
        writer.write(STREAM_HEAD + progress)
        await other.wait()
        writer.write(_chunk(b"data: 1\n\n") + b"0\r\n\r\n")

    async with _worker(answer) as (worker, process):
        worker.engine = LlamaCpp()
        now = asyncio.get_running_loop().time
        hangs = asyncio.create_task(worker.call("chat", {"x": "hang"}))
        answered = asyncio.create_task(_read_all(worker))
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


async def test_forms_and_bytes_go_to_and_fro() -> None:
    bodies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 4\r\n\r\nRIFF")

    heads: list[bytes] = []
    async with _worker(answer, heads) as (worker, _):
        file = File(name="a b.wav", content_type="audio/wav", data=b"\x00\r\n--")
        form = Form(fields={"model": "m", "language": "zh-\u4e2d"}, files={"file": file})
        async with worker.send("chat", form) as received:
            assert received.content_type == "audio/wav"
            assert await received.read_all() == b"RIFF"
        async with worker.send("chat", Raw(content_type="audio/flac", data=b"fLaC")) as received:
            assert await received.read_all() == b"RIFF"
    head = BytesParser().parsebytes(heads[0].split(b"\r\n", 1)[1].strip() + b"\r\n\r\n" + bodies[0])
    parts = {part.get_param("name", header="content-disposition"): part for part in head.get_payload()}
    assert {name: part.get_payload(decode=True) for name, part in parts.items()} == {
        "model": b"m",
        "language": "zh-\u4e2d".encode(),
        "file": b"\x00\r\n--",
    }
    assert (parts["file"].get_filename(), parts["file"].get_content_type()) == ("a b.wav", "audio/wav")
    assert b"content-type: audio/flac\r\n" in heads[1].lower()
    assert bodies[1] == b"fLaC"


class _Body:
    """A body that arrives in given pieces."""

    def __init__(self, blocks: list[bytes]) -> None:
        self._blocks = [*blocks, b""]

    async def read(self) -> bytes:
        return self._blocks.pop(0)


def _pieces(whole: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted({cut % (len(whole) + 1) for cut in cuts}), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(bounds) if end > start]


@given(
    st.lists(st.binary(min_size=1, max_size=8).filter(lambda data: b"\n" not in data), max_size=8),
    st.lists(st.integers(0, 200)),
)
def test_blocks_are_whole_events_however_the_bytes_arrive(payloads: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(b"data: " + payload + b"\n\n" for payload in payloads)

    async def read_all() -> list[bytes]:
        blocks, found = EventBlocks(_Body(_pieces(whole, cuts))), []
        while block := await blocks.read():
            found.append(block)
        return found

    blocks = asyncio.run(read_all())
    assert b"".join(blocks) == whole
    assert all(block.endswith(b"\n\n") for block in blocks)
