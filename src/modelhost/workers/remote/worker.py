"""The worker of a model on other servers, over connections that are reused.

A request goes to the healthy server with the fewest requests. Until something of the answer has arrived, another server
can take its place; from then on a broken connection is a :class:`WorkerCrashed`, as with a local worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from modelhost import trace_context
from modelhost.engines.base import Engine
from modelhost.engines.launch import RemoteTarget
from modelhost.errors import EngineError, ModelFailed, ModelhostError, Unavailable, WorkerCrashed
from modelhost.exchange.payloads import Payload
from modelhost.exchange.tasks import TASKS, Task
from modelhost.redaction import hide, without_secrets
from modelhost.workers.call_depth import CALL_DEPTH, DEPTH_HEADER
from modelhost.workers.client import WorkerClient, json_or_text
from modelhost.workers.connection import Connection, ConnectionBroken
from modelhost.workers.remote.connection import KeepAliveConnection
from modelhost.workers.remote.endpoint import Endpoint
from modelhost.workers.remote.events import RemoteEvents
from modelhost.workers.remote.servers import RemoteServers
from modelhost.workers.wire import EventBlocks, encode_payload, with_model_name

DEEPEST: Final = 8
"""Hosts and tool calls that a request may have passed through: more of them are a cycle."""
FOR_ANOTHER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE)
"""Statuses of a server that did not start on the request: another may."""


class RemoteWorker(WorkerClient):
    """The servers of one model. Made by :meth:`begin`."""

    process: RemoteServers

    def __init__(self, *, process: RemoteServers, engine: Engine, model: str) -> None:
        super().__init__(process=process, engine=engine, model=model, api_key="")

    @classmethod
    async def begin(cls, target: RemoteTarget, engine: Engine, *, model: str, timeout_seconds: float) -> RemoteWorker:
        """Return it when a server is healthy; raises as :meth:`RemoteServers.start` does."""
        if target.api_key:
            hide([target.api_key])
        servers = await RemoteServers.start(target, model=model, timeout_seconds=timeout_seconds)
        return cls(process=servers, engine=engine, model=model)

    def end_stalled_requests(self, now: float, patience_seconds: float) -> list[float]:
        """As for a local worker if there is one server: among several, requests overtake each other."""
        return super().end_stalled_requests(now, patience_seconds) if len(self.process.endpoints) == 1 else []

    @asynccontextmanager
    async def stream(self, task: Task, body: dict[str, Any]) -> AsyncIterator[EventBlocks]:
        async with self._answered(self.engine.path(task), body, task) as connection:
            convert = self.engine.event_converter(task)
            async with aclosing(RemoteEvents(connection, convert, task=task, model=self.model)) as events:
                yield events

    async def call(self, task: Task, payload: Payload) -> Any:
        answer = await super().call(task, payload)
        if isinstance(answer, dict) and "model" in answer:
            answer["model"] = self.model
        return answer

    @asynccontextmanager
    async def _answered(
        self, path: str, payload: Payload | None, task: Task | None = None
    ) -> AsyncIterator[KeepAliveConnection]:
        tried: set[Connection] = set()

        def on_connection(connection: Connection) -> None:
            tried.add(connection)
            if task is not None:
                self.requests.add(connection, is_silent=TASKS[task].is_silent)

        try:
            endpoint, connection = await self._accepted(path, payload, on_connection)
            try:
                yield connection
            except ConnectionBroken as error:
                raise self._broken(endpoint, error) from error
            finally:
                self.process.release(endpoint, connection)
        finally:
            self.requests.remove(tried, asyncio.get_running_loop().time())

    async def _accepted(
        self, path: str, payload: Payload | None, on_connection: Callable[[Connection], None]
    ) -> tuple[Endpoint, KeepAliveConnection]:
        """Return the first server that accepts the request; if there is none, raise the last one's error."""
        head = self._depth_line() + trace_context.header_lines()
        refusal: ModelhostError | None = None
        for endpoint in self.process.by_load():
            kind, sent = None, None
            if payload is not None:
                kind, sent = encode_payload(with_model_name(payload, endpoint.served or self.model))
            try:
                connection = await endpoint.ask(path, sent, kind=kind, head=head, on_connection=on_connection)
            except ConnectionBroken as error:
                refusal = self._unreached(endpoint, error)
                continue
            if connection.status == HTTPStatus.OK:
                return endpoint, connection
            try:
                refusal = await self._refusal_in(connection)
            except ConnectionBroken as error:
                refusal = self._broken(endpoint, error)
            finally:
                self.process.release(endpoint, connection)
            if connection.status not in FOR_ANOTHER:
                break
        assert refusal is not None  # there is at least one server
        raise refusal

    def _depth_line(self) -> bytes:
        depth = CALL_DEPTH.get()
        if depth >= DEEPEST:
            raise EngineError(
                f"A request for {self.model} has come through {depth} hosts or tools already: the address of a remote "
                "model leads back to a host that sent it.",
                model=self.model,
                worker=self.process.name,
                reason="circle",
            )
        return f"{DEPTH_HEADER}: {depth + 1}\r\n".encode()

    async def _refusal_in(self, connection: KeepAliveConnection) -> ModelhostError:
        error = self.refusal(connection.status, json_or_text(await connection.read_all()))
        if isinstance(error, Unavailable) and connection.retry_after_seconds is not None:
            error.retry_after_seconds = connection.retry_after_seconds
        return error

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        return super().refusal(status, without_secrets(payload))

    def _unreached(self, endpoint: Endpoint, error: ConnectionBroken) -> ModelhostError:
        if self._explain is not None:
            return self._explain(self.model, self.process.name)
        self.process.mark_failed(endpoint, str(error))
        return ModelFailed(
            f"The server of {self.model} cannot be reached ({endpoint.name}: {error}). Try again.", model=self.model
        )

    def _broken(self, endpoint: Endpoint, error: ConnectionBroken) -> ModelhostError:
        if self._explain is not None:
            return self._explain(self.model, self.process.name)
        self.process.mark_failed(endpoint, str(error))
        return WorkerCrashed(
            f"The server of {self.model} ({endpoint.name}) broke off while it answered: {error}. Try again.",
            model=self.model,
            worker=self.process.name,
        )
