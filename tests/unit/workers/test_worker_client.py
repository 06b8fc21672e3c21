"""The host's side of the wire, against a listener that answers whatever the test says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.engines.scripted import Scripted
from modelhost.errors import ContextLengthExceeded, EngineError, WorkerCrashed
from modelhost.workers.client import EventBlocks, Worker
from tests.support.fake_workers import FakeProcess

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
    worker = Worker(process=process, engine=Scripted(), model="m", api_key="secret")
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


async def test_a_request_carries_the_workers_key() -> None:
    seen: list[bytes] = []
    async with _worker(_whole(200, b'{"fine": 1}'), seen) as (worker, _):
        assert await worker.call("embeddings", {"input": "x"}) == {"fine": 1}
    assert b"Authorization: Bearer secret\r\n" in seen[0]
    assert seen[0].startswith(b"POST /v1/embeddings ")


async def test_an_error_answer_is_translated_by_the_engine() -> None:
    body = {"error": {"type": "exceed_context_size_error", "message": "m", "n_prompt_tokens": 9, "n_ctx": 8}}
    async with _worker(_whole(400, orjson.dumps(body))) as (worker, _):
        with pytest.raises(ContextLengthExceeded, match="9 tokens"):
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
