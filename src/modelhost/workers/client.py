"""The host's client of one worker: OpenAI's HTTP API over a local socket, answers as whole SSE events.

Generations are always streamed: llama.cpp notices that a client has disconnected only while it streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import orjson

from modelhost import trace_context
from modelhost.background import log_failures
from modelhost.engines.base import Engine
from modelhost.engines.launch import Ready
from modelhost.errors import EngineError, ModelhostError, WorkerCrashed
from modelhost.exchange.payloads import Payload
from modelhost.exchange.tasks import COUNT, TASKS, Task
from modelhost.logs import get_logger
from modelhost.monitor.engine_reports import EngineReport
from modelhost.workers import endings
from modelhost.workers.answer_events import decoded, decoded_events
from modelhost.workers.connection import OK, UNIX, Connection, ConnectionBroken, NotListening, Stalled, connect
from modelhost.workers.open_requests import OpenRequests
from modelhost.workers.private_folder import remove_socket
from modelhost.workers.wire import EventBlocks, encode_payload
from modelhost.workers.worker import WorkerAnswer, WorkerHandle

log = get_logger(__name__)

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
SECONDS_TO_LEARN_OF_A_CRASH = 2.0


class WorkerClient:
    """The :class:`~modelhost.workers.worker.Worker` that is a process here, and the base of the others."""

    def __init__(self, *, process: WorkerHandle, engine: Engine, model: str, api_key: str) -> None:
        self.process = process
        self.engine = engine
        self.model = model
        self._explain: endings.MakeError | None = None  # why we ended it, while it ran
        self.requests = OpenRequests()
        self._head = f"Host: worker\r\nAuthorization: Bearer {api_key}\r\nConnection: close\r\n".encode()

    @property
    def ready(self) -> Ready:
        return self.process.ready

    @property
    def open_requests(self) -> int:
        return len(self.requests)

    @property
    def last_output_at(self) -> float:
        return self.requests.last_output_at

    def silent_seconds(self, now: float) -> float | None:
        return self.requests.silent_seconds(now)

    async def memory(self) -> Mapping[str, int]:
        return await self.process.memory()

    async def close(self, explain: endings.MakeError = endings.stopped) -> Mapping[str, int]:
        freed: Mapping[str, int] = {}
        with log_failures("measuring workers", model=self.model):
            freed = await self.memory()
        self._end_because(explain)
        await self.process.stop()
        if self.ready.url.startswith(UNIX):
            remove_socket(self.ready.url.removeprefix(UNIX))
        return freed

    def end_stalled_requests(self, now: float, patience_seconds: float) -> list[float]:
        # An engine that does not report a prompt's progress may be processing a long one: only requests that others
        # have overtaken fail.
        if self.engine.prompt_progress is None:
            stalled = self.requests.overtaken(now, patience_seconds=patience_seconds)
        else:
            stalled = self.requests.stalled(now, patience_seconds=patience_seconds, slots=self.ready.slots or 1)
        for request, seconds in stalled.items():
            request.give_up(seconds)
        return list(stalled.values())

    async def end_stalled(self, seconds: float) -> None:
        self._end_because(endings.stalled(seconds))
        await self.process.kill()

    async def end_unreachable(self) -> None:
        if self.process.is_running and self._explain is None:
            log.error("worker_unreachable", model=self.model, pid=self.process.pid, url=self.ready.url)
        self._end_because(endings.unreachable)
        await self.process.kill()

    def _end_because(self, explain: endings.MakeError) -> None:
        if self.process.is_running and self._explain is None:
            self._explain = explain

    def stream(self, task: Task, body: dict[str, Any]) -> AbstractAsyncContextManager[EventBlocks]:
        return _Streamed(self, task, body)

    async def call(self, task: Task, payload: Payload) -> Any:
        counted: int | None = None
        if task == "tokenize" and isinstance(payload, dict) and self.engine.preparation is not None:
            counted = await self.engine.preparation.tokens_with_media(self, payload)
            payload = await self.engine.preparation.with_prompt(self, payload)
        async with self.send(task, payload) as answer:
            value = self._decoded(self.engine.convert_answer(task, await answer.read_all()))
        return value if counted is None else {**value, COUNT: counted}

    def send(self, task: Task, payload: Payload) -> AbstractAsyncContextManager[WorkerAnswer]:
        if isinstance(payload, dict):
            payload = self._finished(task, payload)
        return self._answered(self.engine.path(task), payload, task)

    async def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        async with self._answered(path, body) as answer:
            return self._decoded(await answer.read_all())

    async def report(self) -> EngineReport | None:
        metrics = self.engine.metrics
        if metrics is None:
            return None
        async with self._answered(metrics.path, None) as answer:
            text = await answer.read_all()
        slots = None
        if metrics.slots_path is not None:
            with suppress(ModelhostError):  # an older program has none, or was started without them
                slots = await self.fetch(metrics.slots_path)
        # In a thread: vLLM's takes some milliseconds.
        return await asyncio.to_thread(metrics.read, text.decode(errors="replace"), slots)

    @asynccontextmanager
    async def fetch_events(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[AsyncGenerator[Mapping[str, Any], None]]:
        async with self._answered(path, body) as answer:
            yield decoded_events(EventBlocks(answer), model=self.model, worker=self.process.name)

    def _decoded(self, data: bytes) -> Any:
        return decoded(data, model=self.model, worker=self.process.name)

    def _answered(
        self, path: str, payload: Payload | None, task: Task | None = None
    ) -> AbstractAsyncContextManager[WorkerAnswer]:
        """Send a request, which counts as work if it has a ``task``, and yield its answer as :meth:`send` does."""
        head = self._head + trace_context.header_lines()
        return _Answered(self, path, head, payload, task)

    def _finished(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` completed with what depends on the worker."""
        ready = self.process.ready
        if ready.chat_defaults and (task == "chat" or "messages" in body):
            body = {**ready.chat_defaults, **body}
        if task == "chat" and ready.chat_stops:
            given = body.get("stop") or []
            own = [given] if isinstance(given, str) else given
            body = {**body, "stop": [*own, *ready.chat_stops]}
        if (most := ready.most_tokens) is not None:
            body = body | {name: min(body[name], most) for name in TOKEN_LIMITS if name in body}
        return self.engine.finalize(task, body, ready)

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        return self.engine.translate_error(status, payload, model=self.model, worker=self.process.name)

    async def explain_loss(self, error: ConnectionBroken) -> ModelhostError:
        """A broken connection nearly always means a dead process: wait briefly for its exit status."""
        if isinstance(error, Stalled):
            return endings.no_progress(error.seconds)(self.model, self.process.name)
        try:
            async with asyncio.timeout(SECONDS_TO_LEARN_OF_A_CRASH):
                await self.process.wait()
        except TimeoutError:
            if self._explain is None and isinstance(error, NotListening):
                await self.end_unreachable()
            if self._explain is None:
                return EngineError(
                    f"The worker of {self.model} broke the connection: {error}. It is still running; try again.",
                    model=self.model,
                    worker=self.process.name,
                )
        if self._explain is not None:
            return self._explain(self.model, self.process.name)
        return WorkerCrashed(
            f"The worker of {self.model} {self.process.describe_exit()} while it answered. "
            "It is being restarted; try again.",
            model=self.model,
            worker=self.process.name,
            stderr=self.process.stderr_tail(),
        )


# Classes, since what contextlib makes of generators costs a request more than the rest of what these do.


class _Streamed:
    """A request whose answer is read as events."""

    __slots__ = ("_answered", "_body", "_client", "_task")

    def __init__(self, client: WorkerClient, task: Task, body: dict[str, Any]) -> None:
        self._client = client
        self._task: Task = task
        self._body = body

    async def __aenter__(self) -> EventBlocks:
        client, task, body = self._client, self._task, self._body
        engine = client.engine
        preparation = engine.preparation
        if preparation is not None and not preparation.fields.isdisjoint(body):
            body = await preparation.prepared(client, body, client.ready)
        progress, convert = engine.prompt_progress, engine.event_converter(task)
        if progress is not None and not progress.is_wanted(body):
            body, convert = progress.wanted(body), _both(progress.without, convert)
        self._answered = client.send(task, body)
        return EventBlocks(await self._answered.__aenter__(), convert)

    async def __aexit__(self, *details: Any) -> None:
        await self._answered.__aexit__(*details)


def _both(first: Callable[[bytes], bytes], second: Callable[[bytes], bytes] | None) -> Callable[[bytes], bytes]:
    return first if second is None else lambda block: second(first(block))


class _Answered:
    """A request over a connection of its own, from its head to the end of its answer."""

    __slots__ = ("_client", "_connection", "_head", "_path", "_payload", "_task")

    def __init__(
        self, client: WorkerClient, path: str, head: bytes, payload: Payload | None, task: Task | None
    ) -> None:
        self._client = client
        self._path = path
        self._head = head
        self._payload = payload
        self._task: Task | None = task
        self._connection: Connection | None = None

    async def __aenter__(self) -> Connection:
        client = self._client
        try:
            self._connection = connection = await connect(client.ready.url)
            if self._task is not None:
                client.requests.add(connection, is_silent=TASKS[self._task].is_silent)
            try:
                await self._send(connection)
            except BaseException:
                self._leave()
                raise
        except ConnectionBroken as error:
            lost = await client.explain_loss(error)
            if isinstance(lost, WorkerCrashed):
                lost.was_begun = self._may_be_begun()
            raise lost from error
        return connection

    def _may_be_begun(self) -> bool:
        return self._connection is not None and (self._connection.has_begun or not self._client.ready.reports_begin)

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._leave()
        if isinstance(error, ConnectionBroken):
            raise await self._client.explain_loss(error) from error

    async def _send(self, connection: Connection) -> None:
        if self._payload is None:
            await connection.get(self._path, self._head)
        else:
            kind, data = encode_payload(self._payload)
            await connection.post(self._path, b"%sContent-Type: %s\r\n" % (self._head, kind.encode()), data)
        if connection.status != OK:
            raise self._client.refusal(connection.status, json_or_text(await connection.read_all()))

    def _leave(self) -> None:
        assert self._connection is not None
        if self._task is not None:
            self._client.requests.remove([self._connection], asyncio.get_running_loop().time())
        self._connection.__exit__()


def json_or_text(data: bytes) -> Any:
    """Return the JSON of an error answer; anything else as the message of an error object."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return {"error": {"message": data[:500].decode(errors="replace"), "type": "not_json"}}
