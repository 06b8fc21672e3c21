"""The name that answers give their model, where engines give it another one than was asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import orjson

from modelhost.chat.generation import Blocks, ModelConnection
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import Task


class AnswersAs:
    """A worker whose answers say that they are by ``name``, where it says ``own`` itself.

    It is looked for with its key and quotes, which cannot stand in a text, where JSON escapes them.
    """

    def __init__(self, worker: ModelConnection, *, own: str, name: str) -> None:
        self._worker = worker
        self._name = name
        self._before, self._after = (b'"model":' + orjson.dumps(each) for each in (own, name))

    @asynccontextmanager
    async def stream(self, task: Task, body: dict[str, Any]) -> AsyncIterator[Blocks]:
        async with self._worker.stream(task, body) as blocks:
            yield _Renamed(blocks, self._before, self._after)

    async def call(self, task: Task, body: dict[str, Any]) -> Any:
        return {**await self._worker.call(task, body), "model": self._name}

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return await self._worker.ask(path, body)

    def listen(
        self, path: str, body: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncGenerator[Mapping[str, Any], None]]:
        return self._worker.listen(path, body)

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        return self._worker.refusal(status, payload)


class _Renamed:
    def __init__(self, blocks: Blocks, before: bytes, after: bytes) -> None:
        self._blocks = blocks
        self._before, self._after = before, after

    async def read(self) -> bytes:
        return (await self._blocks.read()).replace(self._before, self._after)
