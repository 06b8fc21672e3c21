"""What is told of a request until its answer begins: its place in the queue, and how far its model is loaded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from uuid import uuid4

from msgspec.structs import replace

from modelhost.exchange.chunks import CHAT, COMPLETION
from modelhost.exchange.events import Envelope, Event, Loading, Piece, Pieces, PieceStream, Queued
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.scheduler import OnQueued
from modelhost.models.residency.status import ModelEvent, State

Begin = Callable[[OnQueued], AbstractAsyncContextManager[Pieces]]
Events = Callable[[], AbstractAsyncContextManager[AsyncIterator[ModelEvent]]]


async def with_wait_events(begin: Begin, model: HostedModel, events: Events, *, is_chat: bool) -> PieceStream:
    """Yield what the request that ``begin`` opens waits for, and then its answer; raises what that raises.

    ``events`` are what happens to models, the state of each first. Without ``is_chat`` the answer is a completion.

    The answer is opened, read and left in a task of its own, which is one piece ahead at most: a wait can only be told
    by somebody who does not wait.
    """
    news = _News(model, is_chat=is_chat)
    tasks = [asyncio.create_task(_answered(begin, news)), asyncio.create_task(_followed(events, news))]
    try:
        while (piece := await news.read()) is not None:
            yield piece
        await tasks[0]  # its error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # raised above, or of no interest any more


class _News:
    """What is to be told, in its order."""

    def __init__(self, model: HostedModel, *, is_chat: bool) -> None:
        self._model = model.name
        self._loading: Loading | None = None
        self._is_waiting = self._has_told = False
        kind, prefix = (CHAT, "chatcmpl") if is_chat else (COMPLETION, "cmpl")
        # The engine's id of the answer is not known yet.
        self._envelope = Envelope(id=f"{prefix}-{uuid4().hex}", created=int(time.time()), model=model.name, kind=kind)
        self._written = self._told_as = self._envelope
        """As the engine has it, and as it goes on."""
        self._pieces: asyncio.Queue[tuple[Piece | None, bool]] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)

    async def read(self) -> Piece | None:
        """Return the next piece, or ``None`` at the end of the answer."""
        piece, is_answer = await self._pieces.get()
        if is_answer:
            self._room.release()
        return piece

    async def add(self, piece: Piece) -> None:
        """Pass on a piece of the answer, once the one before has been read."""
        await self._room.acquire()
        self._is_waiting = False
        self._pieces.put_nowait((self._in_one(piece) if self._has_told else piece, True))

    def end(self) -> None:
        """Tell that nothing more comes; waits for nobody, since nobody may read any more."""
        self._pieces.put_nowait((None, False))

    def queued(self, position: int) -> None:
        """Tell that the request waits."""
        self._is_waiting = True
        self._tell(Queued(position=position, envelope=self._envelope))
        if self._loading is not None:
            self._tell(self._loading)

    def on_model(self, event: ModelEvent) -> None:
        """Tell that the model is being loaded, if the request waits for it."""
        if event.model != self._model:
            return
        known = self._loading
        is_loading = event.state is State.LOADING
        self._loading = Loading(progress=event.progress, envelope=self._envelope) if is_loading else None
        if self._is_waiting and self._loading is not None and self._loading != known:
            self._tell(self._loading)

    def _tell(self, event: Event) -> None:
        self._has_told = True
        self._pieces.put_nowait(((event,), False))

    def _in_one(self, piece: Piece) -> Piece:
        """Return ``piece`` of the answer under the id of what was told before it."""
        written = piece[0].envelope
        if written is not self._written:
            self._written, self._told_as = written, replace(written, id=self._envelope.id)
        return tuple(replace(event, envelope=self._told_as) for event in piece)


async def _answered(begin: Begin, news: _News) -> None:
    try:
        async with begin(news.queued) as pieces:
            async for piece in pieces:
                await news.add(piece)
    finally:
        news.end()


async def _followed(events: Events, news: _News) -> None:
    async with events() as happening:
        async for event in happening:
            news.on_model(event)
