"""The calls that a model asks for, put together from the pieces of its answer while it writes them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelhost import json_text


@dataclass(slots=True)
class WantedCall:
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

    def message(self) -> dict[str, Any]:
        """Return it as it stands in an assistant message."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments or "{}"}}


class CallCollector:
    """Collects the calls of one turn. A call is complete when the next one begins, and at the end of the turn."""

    def __init__(self) -> None:
        self.calls: list[WantedCall] = []
        self._given_out = 0

    def add(self, pieces: Iterable[Mapping[str, Any]]) -> list[WantedCall]:
        """Take pieces in; return the calls that have become complete by them."""
        for piece in pieces:
            call = self._call(piece.get("index", 0))
            function = piece.get("function") or {}
            if piece.get("id"):
                call.id = piece["id"]
            call.name += function.get("name") or ""
            call.arguments += function.get("arguments") or ""
        return self._complete(len(self.calls) - 1)

    def end(self) -> list[WantedCall]:
        """Return the calls that have not been returned yet: the answer is over."""
        return self._complete(len(self.calls))

    def _call(self, index: int) -> WantedCall:
        while len(self.calls) <= index:
            self.calls.append(WantedCall(id=f"call_{secrets.token_hex(12)}"))
        return self.calls[index]

    def _complete(self, count: int) -> list[WantedCall]:
        complete = self.calls[self._given_out : count]
        self._given_out = max(self._given_out, count)
        return complete
