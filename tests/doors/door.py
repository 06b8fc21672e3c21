"""What every door is to the suite: something that answers an :class:`Ask`."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import httpx2

from tests.doors.talk import Ask, Failed, Outcome
from tests.doors.world import World

Ability = Literal[
    "codes",  # an error has a stable code
    "halves",  # half a character can be sent
    "pieces",  # the text comes while it is written
    "leaving between pieces",
    "leaving at any time",
    "finish",  # why the answer ended is told
    "usage",
    "reasoning",
    "limit",
    "stop",
    "model",  # a request may name one
    "sessions",
    "schema",
    "tools",  # of the client
    "host tools",  # the model is given those of the host
    "host calls",  # those that were made are told
    "waits",  # what a request waits for is told
    "questions",  # somebody can be asked while they run
]
JSON = {"content-type": "application/json"}
SECONDS = 60.0
"""Ends what hangs."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What a door says to those who want of it what it cannot do."""

    code: str | None
    says: str


Lacks = Mapping[Ability, Refused | str]


class Door(ABC):
    """One way in; a test gets a fresh one."""

    name: ClassVar[str]
    """Part of the ids of the tests."""
    lacks: ClassVar[Lacks] = {}
    """What it cannot do: how it refuses it, or why there is nothing to refuse."""
    tells_place: ClassVar[bool] = True
    """Whether it says at which place a request waits, and not only that it does."""
    refused_limit: ClassVar[tuple[int, str]] = (-1, "max_tokens")
    """A limit of tokens that cannot be, and the door's name for the field."""
    takes_same_names: ClassVar[bool] = False
    """Whether two tools of a request may have one name."""
    needs_llm: ClassVar[bool] = False
    """Whether its world is that of ``modelhost.LLM``."""

    def __init__(self, world: World, *, over_socket: bool = False) -> None:
        self.world = world
        self.over_socket = over_socket

    @abstractmethod
    async def put(self, ask: Ask, got: Outcome) -> None:
        """Ask, and add to ``got`` what comes as it comes. Being cancelled is how a client leaves.

        Raises:
            Failed: the request or the answer failed.
        """

    def can(self, ability: Ability) -> bool:
        return ability not in self.lacks

    async def ask(self, ask: Ask) -> Outcome:
        """Ask, and return all that comes."""
        got = Outcome()
        await self._put(ask, got)
        return got

    @asynccontextmanager
    async def asking(self, ask: Ask) -> AsyncIterator[tuple[Outcome, asyncio.Task[None]]]:
        """Ask in a task, and leave with the context; what has come so far is there at any time."""
        got = Outcome()
        task = asyncio.create_task(self._put(ask, got))
        try:
            yield got, task
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=SECONDS)
            assert task.done(), "the client cannot leave"
            if not task.cancelled():
                task.result()

    async def _put(self, ask: Ask, got: Outcome) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                await self.put(ask, got)
        except Failed as failed:
            got.failure = failed.failure


class HttpDoor(Door):
    """One at a path."""

    relays: ClassVar[bool] = True
    """Whether the bytes of an engine may go through as they are."""

    @property
    def http(self) -> httpx2.AsyncClient:
        return self.world.client_of_socket if self.over_socket else self.world.client_in_memory(relays=self.relays)

    @abstractmethod
    def failed(self, status: int, answer: Any) -> Failed:
        """Return the failure that the JSON ``answer`` tells of."""

    async def whole(self, path: str, body: Mapping[str, Any], **headers: str) -> Any:
        """Return the JSON of an answer; raises what :meth:`failed` makes of an error."""
        answer = await self.http.post(path, content=json.dumps(body), headers={**JSON, **headers})
        if answer.is_error:
            raise self.failed(answer.status_code, answer.json())
        return answer.json()

    @asynccontextmanager
    async def lines(self, path: str, body: Mapping[str, Any], **headers: str) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a stream as they come; raises what :meth:`failed` makes of an error before it."""
        async with self.http.stream("POST", path, content=json.dumps(body), headers={**JSON, **headers}) as answer:
            if answer.is_error:
                await answer.aread()
                raise self.failed(answer.status_code, answer.json())
            yield _lines(answer.aiter_bytes())


async def _lines(blocks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the lines in ``blocks``. Not as ``aiter_lines``, to which characters such as U+2028 end one, too."""
    rest = b""
    async for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line.decode()
    assert not rest, "a line has no end"
