"""The answer of a tool loop as its client gets it: one role, one id and one end for all turns, and host events."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from modelhost.chat import usage
from modelhost.exchange.events import (
    NO_ENVELOPE,
    Begin,
    CallLogged,
    CallProgressed,
    Envelope,
    EvalTimes,
    Event,
    Extra,
    Finish,
    FinishDetails,
    HostEvent,
    Logprobs,
    PartialUsage,
    Piece,
    Reasoning,
    Refusal,
    Text,
    Usage,
)
from modelhost.tools.callbacks import CallContext, ToolLogLine, ToolProgress

PIECES_AHEAD: Final = 64
"""Pieces that are buffered for a slow client."""
MODEL_OUTPUT: Final = (Text, Reasoning, Refusal, Logprobs)
"""Events of a turn that the client gets, with the calls that it runs itself; the answer ends only once."""


Item = Piece | BaseException | None


class _Pieces:
    """A bounded queue with one reader. Unlike asyncio's, it costs next to nothing as long as nobody has to wait."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []

    @property
    def is_full(self) -> bool:
        return len(self._items) >= PIECES_AHEAD

    async def get(self) -> Item:
        """Return the next item, waiting if there is none."""
        while not self._items:
            self._reader = self._loop.create_future()
            await self._reader
        item = self._items.popleft()
        if self._writers:
            _wake(self._writers)  # all: those for whom there is no room wait again
            self._writers.clear()
        return item

    async def put(self, item: Item) -> None:
        """Add an item, waiting as long as there is no room."""
        while self.is_full:
            waiter = self._loop.create_future()
            self._writers.append(waiter)
            await waiter
        self.add(item)

    def add(self, item: Item) -> None:
        """Add an item, for which there is room."""
        self._items.append(item)
        if self._reader is not None:
            _wake([self._reader])
            self._reader = None


def _wake(waiters: Iterable[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


class AnswerStream:
    """A bounded queue of the pieces for the client: writers wait while it is full."""

    def __init__(self) -> None:
        self._pieces = _Pieces()
        self._envelope: Envelope = NO_ENVELOPE
        self._has_role = False
        self.spent: Mapping[str, Any] | None = None
        """The usage of the turns that are over."""

    async def next(self) -> Piece | None:
        """Return the next piece, ``None`` at the end; raises the error given to :meth:`fail`."""
        piece = await self._pieces.get()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def forward(self, piece: Piece, calls: Sequence[Event] = ()) -> None:
        """Send what the model generated in ``piece``; ``calls`` are its pieces of calls that the client runs."""
        if self._envelope is NO_ENVELOPE:
            self._envelope = piece[0].envelope
        if self._has_role and len(piece) == 1 and piece[0].extra is None and not calls:  # as nearly all are
            if isinstance(piece[0], MODEL_OUTPUT):
                await self._pieces.put((_alone(piece[0], self._envelope),))
            return
        begins = not self._has_role and any(isinstance(event, Begin) and event.role is not None for event in piece)
        said = [_alone(event, self._envelope) for event in piece if isinstance(event, MODEL_OUTPUT)]
        said += [_alone(call, self._envelope) for call in calls]
        so_far = [self._with_spent(event) for event in piece if isinstance(event, PartialUsage)]
        unknown = next((event.extra for event in piece if event.extra is not None and _has_fields(event.extra)), None)
        if not (said or begins or unknown):
            return
        if begins:
            nulls = next(event.extra for event in piece if isinstance(event, Begin))
            said.insert(0, Begin(envelope=self._envelope, extra=_of_choice(nulls)))
        elif not self._has_role:
            said.insert(0, Begin(envelope=self._envelope))
        elif not said:
            said = [Begin(envelope=self._envelope, role=None)]
        self._has_role = True
        if unknown is not None and said[0].extra is None:
            said[0] = replace(said[0], extra=_of_choice(unknown))
        await self._pieces.put((*said, *so_far))

    def _with_spent(self, event: PartialUsage) -> PartialUsage:
        return replace(event, envelope=self._envelope, usage=usage.add_usage(self.spent, event.usage))

    async def send_calls(self, calls: Sequence[Event]) -> None:
        """Send pieces of calls that the client runs."""
        if calls:
            await self._pieces.put(tuple(_alone(call, self._envelope) for call in calls))

    async def add_text(self, text: str) -> None:
        """Add ``text`` to the answer."""
        said: list[Event] = [] if self._has_role else [Begin(envelope=self._envelope)]
        self._has_role = True
        await self._pieces.put((*said, Text(envelope=self._envelope, text=text)))

    async def send(self, event: HostEvent) -> None:
        """Send an event of the host."""
        await self._pieces.put((replace(event, envelope=self._envelope),))

    def send_if_room(self, event: HostEvent) -> None:
        """Send an event, or drop it if the queue is full."""
        if not self._pieces.is_full:
            self._pieces.add((replace(event, envelope=self._envelope),))

    async def finish(
        self, reason: str, details: FinishDetails | None, usage: Mapping[str, Any] | None, times: EvalTimes
    ) -> None:
        """End the answer; ``details`` says why the host ended it, if it did."""
        await self._pieces.put((Finish(envelope=self._envelope, reason=reason, details=details),))
        await self._pieces.put((Usage(envelope=self._envelope, usage=usage, times=times),))
        await self._pieces.put(None)

    async def fail(self, error: BaseException) -> None:
        """End the answer with an error."""
        await self._pieces.put(error)

    def in_context(self, context: CallContext, call_id: str) -> CallContext:
        """Return ``context`` such that progress and log lines of the call ``call_id`` are sent."""

        async def on_progress(step: ToolProgress) -> None:
            event = CallProgressed(id=call_id, progress=step.progress, total=step.total, message=step.message)
            self.send_if_room(event)

        return replace(context, on_progress=on_progress, on_log=self._log)

    async def _log(self, line: ToolLogLine) -> None:
        # The same for all calls of the answer: over a pipe it is unknown which of them a line belongs to.
        self.send_if_room(CallLogged(line=dataclasses.asdict(line)))


def _alone(event: Event, envelope: Envelope) -> Event:
    if event.envelope is envelope and event.extra is None:
        return event
    return replace(event, envelope=envelope, extra=_of_choice(event.extra))


def _of_choice(extra: Extra | None) -> Extra | None:
    """Return ``extra`` without the fields of the whole answer: for the engine, that is one turn."""
    return None if extra is None or not (extra.choice or extra.delta) else replace(extra, chunk={})


def _has_fields(extra: Extra) -> bool:
    return any(value is not None for value in extra.delta.values())
