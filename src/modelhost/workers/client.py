"""The host's connection to one worker: OpenAI's HTTP API over a local socket, answers as whole SSE events.

Generations are always streamed: llama.cpp notices a client that left only while it streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

import orjson

from modelhost.engines.base import Engine, Ready
from modelhost.errors import EngineError, InvalidRequest, ModelhostError, WorkerCrashed
from modelhost.exchange.tasks import Task
from modelhost.logs import get_logger
from modelhost.rounds import guarded
from modelhost.workers import endings
from modelhost.workers.connection import UNIX, Connection, ConnectionBroken, NobodyListens, Stalled, connect
from modelhost.workers.life import Life
from modelhost.workers.open_requests import OpenRequests
from modelhost.workers.sockets import remove_socket

log = get_logger(__name__)

END_OF_EVENT = b"\n\n"
DATA, DONE = b"data: ", b"[DONE]"
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
SECONDS_TO_LEARN_OF_A_CRASH = 2.0


class Body(Protocol):
    """The body of an answer as it arrives; ``b""`` at its end."""

    async def read(self) -> bytes: ...


class EventBlocks:
    """A streamed answer, read as blocks of whole events: no block ends inside an event."""

    def __init__(self, body: Body, received: Callable[[bytes], bytes] | None = None) -> None:
        """``received`` is applied to each block, and may leave nothing of it."""
        self._body = body
        self._received = received
        self._rest = b""

    async def read(self) -> bytes:
        """Return the next block, or ``b""`` at the end of the answer."""
        while block := await self._next():
            if self._received is None:
                return block
            if left := self._received(block):
                return left
        return b""

    async def _next(self) -> bytes:
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
    """A ready worker together with the way to talk to it."""

    def __init__(self, *, process: Life, engine: Engine, model: str, api_key: str) -> None:
        self.process = process
        self.engine = engine
        self.model = model
        self._explain: endings.Explain | None = None  # why we ended it, while it ran
        self.requests = OpenRequests()
        self._head = (
            f"Host: worker\r\nAuthorization: Bearer {api_key}\r\n"
            "Content-Type: application/json\r\nConnection: close\r\n"
        ).encode()

    @property
    def ready(self) -> Ready:
        return self.process.ready

    @property
    def open_requests(self) -> int:
        """How many requests the worker has."""
        return len(self.requests)

    @property
    def last_output_at(self) -> float:
        """When the last bytes of any answer came, by the event loop's clock; ``-inf`` before the first."""
        return self.requests.last_output_at

    def silent_seconds(self, now: float) -> float | None:
        """Return for how long the worker has produced nothing although it had work; ``None`` while it has none."""
        return self.requests.silent_seconds(now)

    async def memory(self) -> Mapping[str, int]:
        """Return what it takes now, by pool (``ram``, ``gpu:0`` ...); as :meth:`Life.memory`."""
        return await self.process.memory()

    async def close(self, explain: endings.Explain = endings.stopped) -> Mapping[str, int]:
        """End the process, if it still runs, and give up everything that belonged to it.

        Requests at work fail with what ``explain`` makes, or as after a crash if the process had ended by itself.

        Returns:
            The memory that came back, by pool, measured before; empty if the process had ended already.
        """
        freed: Mapping[str, int] = {}
        with guarded("measuring workers", model=self.model):
            freed = await self.memory()
        self._end_because(explain)
        await self.process.stop()
        if self.ready.url.startswith(UNIX):
            remove_socket(self.ready.url.removeprefix(UNIX))
        return freed

    def end_stalled_requests(self, now: float, patience_seconds: float) -> list[float]:
        """Have the requests fail about which the worker has been silent for too long; return for how long each.

        An engine that does not tell of a prompt's progress may be at work on a long one: of its requests those fail
        that others have overtaken.
        """
        if self.engine.prompt_progress is None:
            stalled = self.requests.overtaken(now, patience_seconds=patience_seconds)
        else:
            stalled = self.requests.stalled(now, patience_seconds=patience_seconds, slots=self.ready.slots or 1)
        for request, seconds in stalled.items():
            request.give_up(seconds)
        return list(stalled.values())

    async def end_stalled(self, seconds: float) -> None:
        """Kill the process, which has been silent for ``seconds``; its requests fail with a :class:`WorkerCrashed`
        that says so. To be closed afterwards like one that crashed."""
        self._end_because(endings.stalled(seconds))
        await self.process.kill()

    async def end_unreachable(self) -> None:
        """Kill the process, at whose address nobody listens; to be closed afterwards like one that crashed."""
        if self.process.is_running and self._explain is None:
            log.error("worker_unreachable", model=self.model, pid=self.process.pid, url=self.ready.url)
        self._end_because(endings.unreachable)
        await self.process.kill()

    def _end_because(self, explain: endings.Explain) -> None:
        if self.process.is_running and self._explain is None:
            self._explain = explain

    @asynccontextmanager
    async def stream(self, task: Task, body: dict[str, Any]) -> AsyncIterator[EventBlocks]:
        """Send ``body`` and yield the answer's events once the worker has accepted it; leaving cancels the work.

        Raises:
            ModelhostError: the worker refused the request (translated by its engine), failed or is gone.
        """
        progress, received = self.engine.prompt_progress, partial(self.engine.received, task)
        if progress is None or progress.is_wanted(body):
            async with self._post(task, body) as connection:
                yield EventBlocks(connection, received)
            return
        async with self._post(task, progress.wanted(body)) as connection:
            yield EventBlocks(connection, lambda block: received(progress.without(block)))

    async def call(self, task: Task, body: dict[str, Any]) -> Any:
        """Send ``body`` and return the whole JSON answer; raises as :meth:`stream` does."""
        async with self._post(task, body) as connection:
            return self._decoded(self.engine.received(task, await connection.read_all()))

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the engine answers to ``body``, or tells of itself without one.

        Raises:
            ModelhostError: as :meth:`stream`.
        """
        async with self._answered(path, body) as connection:
            return self._decoded(await connection.read_all())

    @asynccontextmanager
    async def listen(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[AsyncGenerator[Mapping[str, Any], None]]:
        """Send ``body`` and yield the events of the answer; leaving cancels the work; raises as :meth:`stream`."""
        async with self._answered(path, body) as connection:
            yield self._events(EventBlocks(connection))

    async def _events(self, blocks: EventBlocks) -> AsyncGenerator[Mapping[str, Any], None]:
        while block := await blocks.read():
            for event in block.split(END_OF_EVENT):
                if event.startswith(DATA) and event != DATA + DONE:
                    yield self._decoded(event.removeprefix(DATA))

    def _decoded(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise EngineError(
                f"The engine of {self.model} answered what is not JSON: {data[:200]!r}",
                model=self.model,
                worker=self.process.name,
            ) from None

    def _post(self, task: Task, body: dict[str, Any]) -> AbstractAsyncContextManager[Connection]:
        return self._answered(self.engine.path(task), self._finished(task, body), is_work=True)

    @asynccontextmanager
    async def _answered(
        self, path: str, body: Mapping[str, Any] | None, *, is_work: bool = False
    ) -> AsyncIterator[Connection]:
        """Send a request and yield the connection once the worker has accepted it; raises as :meth:`stream`.

        ``is_work``: the watchdog ends a worker that leaves it lying.
        """
        async with self._connected() as connection:
            if is_work:
                self.requests.add(connection)
            try:
                if body is None:
                    await connection.get(path, self._head)
                else:
                    await connection.post(path, self._head, encoded(body))
                if connection.status != HTTPStatus.OK:
                    raise self.refusal(connection.status, json_or_text(await connection.read_all()))
                yield connection
            finally:
                if is_work:
                    self.requests.remove([connection], asyncio.get_running_loop().time())

    def _finished(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` with what only the worker that gets it knows."""
        if task == "chat" and self.ready.chat_defaults:
            body = {**self.ready.chat_defaults, **body}
        if task == "chat" and self.ready.chat_stops:
            given = body.get("stop") or []
            own = [given] if isinstance(given, str) else given
            body = {**body, "stop": [*own, *self.ready.chat_stops]}
        if (most := self.ready.most_tokens) is not None:
            body = body | {name: min(body[name], most) for name in TOKEN_LIMITS if name in body}
        return self.engine.finished(task, body, self.ready)

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
        if isinstance(error, Stalled):
            return endings.no_progress(error.seconds)(self.model, self.process.name)
        try:
            async with asyncio.timeout(SECONDS_TO_LEARN_OF_A_CRASH):
                await self.process.wait()
        except TimeoutError:
            if self._explain is None and isinstance(error, NobodyListens):
                await self.end_unreachable()
            if self._explain is None:
                return self._still_running(error)
        if self._explain is not None:
            return self._explain(self.model, self.process.name)
        tail = self.process.stderr_tail()
        return WorkerCrashed(
            f"The worker of {self.model} {self.process.describe_exit()} while it answered. "
            "It is being restarted; try again.",
            model=self.model,
            worker=self.process.name,
            stderr=tail,
        )

    def _still_running(self, error: ConnectionBroken) -> EngineError:
        return EngineError(
            f"The worker of {self.model} broke the connection: {error}. It is still running; try again.",
            model=self.model,
            worker=self.process.name,
        )


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return ``body`` as JSON.

    Raises:
        InvalidRequest: it is nested deeper than can be written, which is 254 levels.
    """
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"The body cannot be passed on: {error}.") from None


def json_or_text(data: bytes) -> Any:
    """Return what an error answer holds; what is not JSON as the message of an error object."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return {"error": {"message": data[:500].decode(errors="replace"), "type": "not_json"}}
