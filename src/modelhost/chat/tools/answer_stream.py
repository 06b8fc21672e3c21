"""What a client gets of an answer with tools: one role, one id and one end for all turns, and what happens besides."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from modelhost.chat import usage
from modelhost.chat.tools.calls import RequestedCall
from modelhost.exchange.events import (
    NO_ENVELOPE,
    Begin,
    CallCancelled,
    CallFinished,
    CallLogged,
    CallProgressed,
    CallStarted,
    Envelope,
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
from modelhost.tools.context import CallContext, ToolLogLine, ToolProgress
from modelhost.tools.outcome import ToolOutcome

PIECES_AHEAD: Final = 64
"""That are kept for a client that is slow to take them."""
MODEL_OUTPUT: Final = (Text, Reasoning, Refusal, Logprobs)
"""What a model says; its calls are the host's business, and there is one end only."""


class AnswerStream:
    """The pieces on their way to the client. Who writes waits for a client that is slow."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue(PIECES_AHEAD)
        self._envelope: Envelope = NO_ENVELOPE
        self._has_role = False
        self.spent: Mapping[str, Any] | None = None
        """The tokens of the turns that are over."""

    async def next(self) -> Piece | None:
        """Return the next piece, none at the end; raises what :meth:`fail` was given."""
        piece = await self._pieces.get()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def written(self, piece: Piece) -> None:
        """Pass on what the model says in ``piece``."""
        if self._envelope is NO_ENVELOPE:
            self._envelope = piece[0].envelope
        if self._has_role and len(piece) == 1 and piece[0].extra is None:  # as nearly all are
            if isinstance(piece[0], MODEL_OUTPUT):
                await self._pieces.put((_alone(piece[0], self._envelope),))
            return
        begins = not self._has_role and any(isinstance(event, Begin) and event.role is not None for event in piece)
        said = [_alone(event, self._envelope) for event in piece if isinstance(event, MODEL_OUTPUT)]
        so_far = [self._with_spent(event) for event in piece if isinstance(event, PartialUsage)]
        unknown = next((event.extra for event in piece if event.extra is not None and _says_more(event.extra)), None)
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
        return replace(event, envelope=self._envelope, usage=usage.added(self.spent, event.usage))

    async def say(self, text: str) -> None:
        """Add ``text`` to the answer."""
        said: list[Event] = [] if self._has_role else [Begin(envelope=self._envelope)]
        self._has_role = True
        await self._pieces.put((*said, Text(envelope=self._envelope, text=text)))

    async def tell(self, event: HostEvent) -> None:
        """Tell what happens."""
        await self._pieces.put((replace(event, envelope=self._envelope),))

    def remark(self, event: HostEvent) -> None:
        """Tell what may as well be missed: nobody waits for a slow client because of it."""
        if not self._pieces.full():
            self._pieces.put_nowait((replace(event, envelope=self._envelope),))

    async def finish(self, reason: str, details: FinishDetails | None, usage: Mapping[str, Any] | None) -> None:
        """End the answer; with ``details``, it was the host that ended it."""
        await self._pieces.put((Finish(envelope=self._envelope, reason=reason, details=details),))
        await self._pieces.put((Usage(envelope=self._envelope, usage=usage),))
        await self._pieces.put(None)

    async def fail(self, error: BaseException) -> None:
        """End the answer with an error."""
        await self._pieces.put(error)

    def in_context(self, context: CallContext, call_id: str) -> CallContext:
        """Return ``context`` with the progress and the log lines of the call ``call_id`` told."""

        async def on_progress(step: ToolProgress) -> None:
            self.remark(CallProgressed(id=call_id, progress=step.progress, total=step.total, message=step.message))

        return replace(context, on_progress=on_progress, on_log=self._log)

    async def _log(self, line: ToolLogLine) -> None:
        # The same for all calls of the answer: over a pipe nobody knows which of them a line belongs to.
        self.remark(CallLogged(line=dataclasses.asdict(line)))


def _alone(event: Event, envelope: Envelope) -> Event:
    if event.envelope is envelope and event.extra is None:
        return event
    return replace(event, envelope=envelope, extra=_of_choice(event.extra))


def _of_choice(extra: Extra | None) -> Extra | None:
    """Return ``extra`` without what an engine says of its whole answer, which is one turn here."""
    return None if extra is None or not (extra.choice or extra.delta) else replace(extra, chunk={})


def _says_more(extra: Extra) -> bool:
    return any(value is not None for value in extra.delta.values())


def started(call: RequestedCall) -> CallStarted:
    """Return what is told of a call that begins."""
    return CallStarted(id=call.id, name=call.name, arguments=call.decoded())


def cancelled(call: RequestedCall) -> CallCancelled:
    """Return what is told of a call that the host has ended."""
    return CallCancelled(id=call.id, name=call.name)


def finished(call: RequestedCall, outcome: ToolOutcome) -> CallFinished:
    """Return what is told of a call that is over."""
    return CallFinished(
        id=call.id,
        name=call.name,
        server=outcome.server,
        tool=outcome.tool,
        is_error=outcome.is_error,
        code=outcome.code,
        text=outcome.text,
        seconds=round(outcome.seconds, 4),
    )
