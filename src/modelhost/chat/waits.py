"""Events before an answer begins: the request's position in the queue, and the progress of loading its model."""

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
from modelhost.models.residency.lease import OnQueued
from modelhost.models.residency.status import ModelEvent, State

Begin = Callable[[OnQueued], AbstractAsyncContextManager[Pieces]]
Events = Callable[[], AbstractAsyncContextManager[AsyncIterator[ModelEvent]]]


async def with_wait_events(begin: Begin, model: HostedModel, events: Events, *, is_chat: bool) -> PieceStream:
    """Yield wait events, then the answer that ``begin`` opens; raises what that raises.

    ``events`` yields what happens to models, the state of each first. Without ``is_chat`` the answer is a completion.

    The answer is opened, read and closed in a task of its own, at most one piece ahead, since opening it is what waits.
    """
    pending = _Pending(model, is_chat=is_chat)
    tasks = [asyncio.create_task(_read_answer(begin, pending)), asyncio.create_task(_follow_models(events, pending))]
    try:
        while (piece := await pending.read()) is not None:
            yield piece
        await tasks[0]  # raises its error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # raised above, or no longer of interest


class _Pending:
    """The pieces to be yielded, in order."""

    def __init__(self, model: HostedModel, *, is_chat: bool) -> None:
        self._model = model.name
        self._loading: Loading | None = None
        self._is_waiting = self._has_reported = False
        kind, prefix = (CHAT, "chatcmpl") if is_chat else (COMPLETION, "cmpl")
        # The engine's id of the answer is not known yet.
        self._envelope = Envelope(id=f"{prefix}-{uuid4().hex}", created=int(time.time()), model=model.name, kind=kind)
        self._received = self._sent = self._envelope
        """The envelope of the engine's last piece, and as it was passed on."""
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
        self._pieces.put_nowait((self._with_same_id(piece) if self._has_reported else piece, True))

    def end(self) -> None:
        """End the pieces, without waiting for a reader."""
        self._pieces.put_nowait((None, False))

    def queued(self, position: int) -> None:
        """Report the request's position in the queue."""
        self._is_waiting = True
        self._report(Queued(position=position, envelope=self._envelope))
        if self._loading is not None:
            self._report(self._loading)

    def on_model(self, event: ModelEvent) -> None:
        """Report the progress of loading the model, if the request waits for it."""
        if event.model != self._model:
            return
        known = self._loading
        is_loading = event.state is State.LOADING
        self._loading = Loading(progress=event.progress, envelope=self._envelope) if is_loading else None
        if self._is_waiting and self._loading is not None and self._loading != known:
            self._report(self._loading)

    def _report(self, event: Event) -> None:
        self._has_reported = True
        self._pieces.put_nowait(((event,), False))

    def _with_same_id(self, piece: Piece) -> Piece:
        """Return ``piece`` of the answer with the id of the wait events before it."""
        received = piece[0].envelope
        if received is not self._received:
            self._received, self._sent = received, replace(received, id=self._envelope.id)
        return tuple(replace(event, envelope=self._sent) for event in piece)


async def _read_answer(begin: Begin, pending: _Pending) -> None:
    try:
        async with begin(pending.queued) as pieces:
            async for piece in pieces:
                await pending.add(piece)
    finally:
        pending.end()


async def _follow_models(events: Events, pending: _Pending) -> None:
    async with events() as happening:
        async for event in happening:
            pending.on_model(event)
