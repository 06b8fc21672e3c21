"""The calls that a model requests, assembled from the pieces of its answer, and the events about them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelhost import json_text
from modelhost.exchange.events import ApprovalNeeded, CallFinished, CallStarted, ToolCallPiece
from modelhost.exchange.messages import ToolCall
from modelhost.tools.outcome import ToolOutcome

if TYPE_CHECKING:  # the MCP SDK is behind it
    from modelhost.tools.catalogue import OfferedTool


class RequestedCall(Struct):
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
