"""The host's connection to one worker: OpenAI's HTTP API over a local socket, answers as whole SSE events.

Generations are always streamed: llama.cpp notices a client that left only while it streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import orjson

from modelhost.engines.base import Engine, Operation, Ready
from modelhost.errors import EngineError, ModelhostError, ShuttingDown, WorkerCrashed
from modelhost.workers.connection import UNIX, Connection, ConnectionBroken, connect
from modelhost.workers.process import WorkerProcess
from modelhost.workers.sockets import remove_socket

END_OF_EVENT = b"\n\n"
SECONDS_TO_LEARN_OF_A_CRASH = 2.0


class Body(Protocol):
    """The body of an answer as it arrives; ``b""`` at its end."""

    async def read(self) -> bytes: ...


class EventBlocks:
    """A streamed answer, read as blocks of whole events: no block ends inside an event."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._rest = b""

    async def read(self) -> bytes:
        """Return the next block, or ``b""`` at the end of the answer."""
        while block := await self._body.read():
            if self._rest:
                block = self._rest + block
            if block.endswith(END_OF_EVENT):
                self._rest = b""
                return block
            end = block.rfind(END_OF_EVENT) + len(END_OF_EVENT)
            if end < len(END_OF_EVENT):
                self._rest = block
                continue
            self._rest = block[end:]
            return block[:end]
        return b""


class Worker:
    """A ready worker process together with the way to talk to it."""

    def __init__(self, *, process: WorkerProcess, engine: Engine, model: str, api_key: str) -> None:
        self.process = process
        self.engine = engine
        self.model = model
        self._is_stopped = False  # by us, while it was well
        self._head = (
            f"Host: worker\r\nAuthorization: Bearer {api_key}\r\n"
            "Content-Type: application/json\r\nConnection: close\r\n"
        ).encode()

    @property
    def ready(self) -> Ready:
        return self.process.ready

    async def close(self) -> None:
        """End the process, if it still runs, and give up everything that belonged to it."""
        self._is_stopped = self._is_stopped or self.process.is_running
        await self.process.stop()
        if self.ready.url.startswith(UNIX):
            remove_socket(self.ready.url.removeprefix(UNIX))

    @asynccontextmanager
    async def stream(self, operation: Operation, body: dict[str, Any]) -> AsyncIterator[EventBlocks]:
        """Send ``body`` and yield the answer's events once the worker has accepted it; leaving cancels the work.

        Raises:
            ModelhostError: the worker refused the request (translated by its engine), failed or is gone.
        """
        async with self._post(operation, body) as connection:
            yield EventBlocks(connection)

    async def call(self, operation: Operation, body: dict[str, Any]) -> Any:
        """Send ``body`` and return the whole JSON answer; raises as :meth:`stream` does."""
        async with self._post(operation, body) as connection:
            return self._decoded(await connection.read_all())

    async def look(self, path: str) -> Any:
        """Return the JSON that the engine tells of itself at ``path``; raises as :meth:`stream` does."""
        async with self._connected() as connection:
            await connection.get(path, self._head)
            return self._decoded(await connection.read_all())

    def _decoded(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise EngineError(
                f"The engine of {self.model} answered what is not JSON: {data[:200]!r}",
                model=self.model,
                worker=self.process.name,
            ) from None

    @asynccontextmanager
    async def _post(self, operation: Operation, body: dict[str, Any]) -> AsyncIterator[Connection]:
        async with self._connected() as connection:
            await connection.post(self.engine.path(operation), self._head, orjson.dumps(body))
            if connection.status != 200:
                raise self.refusal(connection.status, _json(await connection.read_all()))
            yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        try:
            with await connect(self.ready.url) as connection:
                yield connection
        except ConnectionBroken as error:
            raise await self._explain_loss(error) from error

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        """Return the worker's error answer as an error of ours."""
        return self.engine.translate_error(status, payload, model=self.model, worker=self.process.name)

    async def _explain_loss(self, error: ConnectionBroken) -> ModelhostError:
        """A broken connection nearly always means a dead process: wait a moment for how it ended."""
        try:
            async with asyncio.timeout(SECONDS_TO_LEARN_OF_A_CRASH):
                await self.process.wait()
        except TimeoutError:
            return EngineError(
                f"The worker of {self.model} broke the connection: {error}. It is still running; try again.",
                model=self.model,
                worker=self.process.name,
            )
        if self._is_stopped:
            return ShuttingDown(f"{self.model} was stopped before the answer was complete.")
        tail = self.process.stderr_tail()
        return WorkerCrashed(
            f"The worker of {self.model} {self.process.describe_exit()} while it answered. "
            "It is being restarted; try again.",
            model=self.model,
            worker=self.process.name,
            stderr=tail,
        )


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return {"error": {"message": data[:500].decode(errors="replace"), "type": "not_json"}}
