"""The calls that a model asks for, put together from the pieces of its answer while it writes them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from modelhost import json_text
from modelhost.exchange.events import ToolCallPiece
from modelhost.exchange.messages import ToolCall


@dataclass(slots=True)
class RequestedCall:
    """One call; ``arguments`` is the JSON text as the model wrote it."""

    id: str
    name: str = ""
    arguments: str = ""

    def decoded(self) -> Any:
        """Return the arguments as JSON, or as the text that they are: half a character, say, cannot be passed on."""
        try:
            return json_text.decoded(self.arguments or "{}")
        except ValueError:
            return self.arguments

    def in_message(self) -> ToolCall:
        """Return it as it stands in a message of the model."""
        return ToolCall(id=self.id, name=self.name, arguments=self.arguments or "{}")


class CallCollector:
    """Collects the calls of one turn. A call is complete when the next one begins, and at the end of the turn."""

    def __init__(self) -> None:
        self.calls: list[RequestedCall] = []
        self._given_out = 0

    def add(self, piece: ToolCallPiece) -> list[RequestedCall]:
        """Take a piece in; return the calls that have become complete by it."""
        call = self._call(piece.index)
        call.id = piece.id or call.id
        call.name += piece.name or ""
        call.arguments += piece.arguments or ""
        return self._complete(len(self.calls) - 1)

    def end(self) -> list[RequestedCall]:
        """Return the calls that have not been returned yet: the answer is over."""
        return self._complete(len(self.calls))

    def _call(self, index: int) -> RequestedCall:
        while len(self.calls) <= index:
            self.calls.append(RequestedCall(id=f"call_{secrets.token_hex(12)}"))
        return self.calls[index]

    def _complete(self, count: int) -> list[RequestedCall]:
        complete = self.calls[self._given_out : count]
        self._given_out = max(self._given_out, count)
        return complete
