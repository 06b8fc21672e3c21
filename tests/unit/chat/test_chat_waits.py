"""What is told of a request until its answer begins, beside answers that are left, end badly, or come at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from modelhost.chat.waits import with_wait_events
from modelhost.errors import ModelFailed
from modelhost.exchange.events import Envelope, Loading, Piece, Pieces, Queued, Text
from modelhost.models.residency.lease import OnQueued
from modelhost.models.residency.status import ModelEvent, State

MODEL: Any = SimpleNamespace(name="ant")
ENVELOPE = Envelope(id="engines", model="ant")


class Answer:
    """An answer of ``pieces`` that waits first, if it ``waits``, and then raises ``error``, if there is one."""

    def __init__(self, pieces: int, *, waits: bool = True, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.waits = waits
        self.error = error
        self.may_begin = asyncio.Event()
        self.news: asyncio.Queue[ModelEvent] = asyncio.Queue()
        self.was_left = False

    @asynccontextmanager
    async def begin(self, on_queued: OnQueued) -> AsyncIterator[Pieces]:
        try:
            if self.waits:
                on_queued(3)
                await self.may_begin.wait()
            yield self._written()
        finally:
            self.was_left = True

    async def _written(self) -> AsyncIterator[Piece]:
        for number in range(self.pieces):
            yield (Text(envelope=ENVELOPE, text=str(number)),)
        if self.error is not None:
            raise self.error

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        async def read() -> AsyncIterator[ModelEvent]:
            while True:
                yield await self.news.get()

        yield read()

    def loads(self, progress: float | None, model: str = "ant") -> None:
        self.news.put_nowait(ModelEvent(at=0, kind="progress", model=model, state=State.LOADING, progress=progress))


async def test_the_place_and_the_load_are_told_before_the_answer_and_under_one_id() -> None:
    answer = Answer(3)
    told = []
    async with aclosing(with_wait_events(answer.begin, MODEL, answer.events, is_chat=True)) as pieces:
        told.append(await anext(pieces))
        answer.loads(0.9, "bee")
        answer.loads(0.5)
        answer.loads(0.5)
        told.append(await anext(pieces))
        answer.may_begin.set()
        told += [piece async for piece in pieces]
    events = [event for piece in told for event in piece]
    assert [type(event) for event in events] == [Queued, Loading, Text, Text, Text]
    assert events[0].position == 3  # type: ignore[attr-defined]
    assert events[1].progress == 0.5  # type: ignore[attr-defined]
    assert len({event.envelope.id for event in events}) == 1


async def test_an_answer_that_comes_at_once_stays_as_it_is() -> None:
    answer = Answer(2, waits=False)
    async with aclosing(with_wait_events(answer.begin, MODEL, answer.events, is_chat=True)) as pieces:
        told = [piece async for piece in pieces]
    assert [piece[0].envelope for piece in told] == [ENVELOPE] * 2


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_who_leaves_with_pieces_unread_leaves_the_answer(read: int) -> None:
    answer = Answer(1000, waits=False)
    async with asyncio.timeout(5) as limit:
        async with aclosing(with_wait_events(answer.begin, MODEL, answer.events, is_chat=True)) as pieces:
            for _ in range(read):
                await anext(pieces)
                for _ in range(10):  # the next one is there then, and the one after it waits for its place
                    await asyncio.sleep(0)
        assert answer.was_left is (read > 0)
    assert not limit.expired()


async def test_an_error_comes_behind_what_came_before_it() -> None:
    answer = Answer(2, error=ModelFailed("broken", model="ant"))
    answer.may_begin.set()
    async with aclosing(with_wait_events(answer.begin, MODEL, answer.events, is_chat=True)) as pieces:
        for _ in range(3):
            await anext(pieces)
        with pytest.raises(ModelFailed):
            await anext(pieces)
