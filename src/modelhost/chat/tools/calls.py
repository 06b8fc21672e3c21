"""The calls that a model requests, assembled from the pieces of its answer, and the events about them."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from modelhost import json_text
from modelhost.exchange.events import (
    ApprovalNeeded,
    CallCancelled,
    CallFinished,
    CallStarted,
    CustomCallPiece,
    Event,
    Piece,
    ToolCallPiece,
)
from modelhost.exchange.messages import ToolCall
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.tools.outcome import ToolOutcome

if TYPE_CHECKING:
    from modelhost.tools.catalogue import OfferedTool


@dataclass(slots=True)
class RequestedCall:
    """A call that the model requests; ``arguments`` is the JSON text as the model wrote it."""

    id: str
    name: str = ""
    arguments: str = ""

    def decoded(self) -> Any:
        """Return the arguments as JSON, or as text where they are not valid JSON."""
        try:
            return json_text.decode(self.arguments or "{}")
        except ValueError:
            return self.arguments

    def in_message(self) -> ToolCall:
        """Return the call as part of an assistant message."""
        return ToolCall(id=self.id, name=self.name, arguments=self.arguments or "{}")


class CallCollector:
    """Collects the calls of one turn. A call is complete when the next one begins, and at the end of the turn."""

    def __init__(self) -> None:
        self.calls: list[RequestedCall] = []
        self._returned = 0

    def add(self, piece: ToolCallPiece) -> list[RequestedCall]:
        """Add a piece; return the calls that it completes."""
        call = self._call(piece.index)
        call.id = piece.id or call.id
        call.name += piece.name or ""
        call.arguments += piece.arguments or ""
        return self._complete(len(self.calls) - 1)

    def end(self) -> list[RequestedCall]:
        """Return the remaining calls, at the end of the answer."""
        return self._complete(len(self.calls))

    def _call(self, index: int) -> RequestedCall:
        while len(self.calls) <= index:
            self.calls.append(RequestedCall(id=f"call_{secrets.token_hex(12)}"))
        return self.calls[index]

    def _complete(self, count: int) -> list[RequestedCall]:
        complete = self.calls[self._returned : count]
        self._returned = max(self._returned, count)
        return complete


def call_started(call: RequestedCall, tool: OfferedTool | None, turn: int) -> CallStarted:
    """Return the event for a call of ``tool``, requested in ``turn``, that begins."""
    return CallStarted(
        id=call.id,
        name=call.name,
        arguments=call.decoded(),
        server=tool.server if tool else "",
        tool=tool.tool if tool else "",
        written=call.arguments,
        turn=turn,
    )


def approval_needed(call: RequestedCall, tool: OfferedTool | None, turn: int) -> ApprovalNeeded:
    """Return the event for a call of ``tool``, requested in ``turn``, that another request has to approve."""
    return ApprovalNeeded(
        id=call.id,
        name=call.name,
        server=tool.server if tool else "",
        tool=tool.tool if tool else "",
        written=call.arguments,
        turn=turn,
    )


def call_cancelled(call: RequestedCall) -> CallCancelled:
    """Return the event for a call that the host ended."""
    return CallCancelled(id=call.id, name=call.name)


def call_finished(call: RequestedCall, outcome: ToolOutcome) -> CallFinished:
    """Return the event for a call that is over."""
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


class ClientCalls:
    """Finds the pieces of these calls among those of a turn, and numbers them as the client sees them."""

    def __init__(self, names: Collection[str]) -> None:
        """``names`` are the client's tools."""
        self._names = names
        self._places: dict[int, int] = {}
        self._held: list[ToolCallPiece | CustomCallPiece] = []
        self._written = WholeAnswer()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._places)

    @property
    def as_called(self) -> tuple[ToolCall, ...]:
        """The calls so far."""
        return self._written.choice().message.tool_calls or ()

    def has(self, name: str) -> bool:
        """Whether the client runs the tool ``name``."""
        return name in self._names

    def take(self, piece: Piece, calls: Sequence[RequestedCall], *, is_held: bool) -> Sequence[Event]:
        """Return the client's part of ``piece``, of which ``calls`` know the names.

        With ``is_held`` it is kept for :meth:`held`: where calls of the host run, their events would stand in between.
        """
        if not self._names:
            return ()
        taken = tuple(
            replace(event, index=self._places.setdefault(event.index, len(self._places)))
            for event in piece
            if isinstance(event, CustomCallPiece)
            or (isinstance(event, ToolCallPiece) and self.has(calls[event.index].name))
        )
        self._written.add(taken)
        if is_held or self._held:
            self._held += taken
            return ()
        return taken

    def held(self) -> Sequence[Event]:
        """Return what was kept, each call in one piece: clients read the first entry of a chunk for each call."""
        whole: dict[int, ToolCallPiece | CustomCallPiece] = {}
        for event in self._held:
            known = whole.get(event.index)
            whole[event.index] = event if known is None else _joined(known, event)
        return list(whole.values())


def _joined(
    known: ToolCallPiece | CustomCallPiece, piece: ToolCallPiece | CustomCallPiece
) -> ToolCallPiece | CustomCallPiece:
    if isinstance(known, CustomCallPiece) and isinstance(piece, CustomCallPiece):
        return replace(known, input=(known.input or "") + (piece.input or ""))
    assert isinstance(known, ToolCallPiece)
    assert isinstance(piece, ToolCallPiece)
    return replace(known, arguments=(known.arguments or "") + (piece.arguments or ""))
