"""A worker behind a listener that answers as the test specifies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from modelhost.engines.scripted.engine import Scripted
from modelhost.workers.client import WorkerClient
from modelhost.workers.worker import Worker
from tests.support.fake_process import FakeProcess

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole_answer(status: int, body: bytes) -> Answer:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))

    return answer


@asynccontextmanager
async def answering_worker(
    answer: Answer, seen: list[bytes] | None = None
) -> AsyncIterator[tuple[Worker, FakeProcess]]:
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


async def read_all(worker: Worker) -> bytes:
    read = b""
    async with worker.stream("chat", {}) as blocks:
        while block := await blocks.read():
            read += block
    return read
