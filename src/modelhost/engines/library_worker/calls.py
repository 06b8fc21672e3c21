"""A tool call read while it is written: its name as soon as it is there, then its arguments piece by piece."""

from __future__ import annotations

import re
import secrets
from typing import Any

import orjson

from modelhost.engines.library_worker.tool_format import CLOSING, OPENING

Piece = dict[str, Any]
"""An entry of ``tool_calls`` in a delta."""

_BEGINNING = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')


class CallReader:
    """Reads what stands between ``<tool_call>`` and ``</tool_call>``.

    ``pieces`` and ``text`` are what has become ready: of the call, or of a text that turned out to be none.
    ``rest`` is what stands behind the end, once that has come.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._waiting = ""
        self._arguments: _ObjectEnd | None = None
        self.is_call = False
        self.rest: str | None = None

    def feed(self, text: str) -> tuple[list[Piece], str]:
        """Return the pieces of the call, and the text that turned out to be none, after ``text`` has come."""
        self._waiting += text
        pieces: list[Piece] = []
        if not self.is_call and (beginning := _BEGINNING.match(self._waiting)):
            pieces.append(self._opening(orjson.loads(beginning[1]), ""))
            self._waiting = self._waiting[beginning.end() :]
            self._arguments = _ObjectEnd()
        if self._arguments is not None and not self._arguments.is_reached:
            length = self._arguments.find(self._waiting)
            if length:
                pieces.append(self._continuation(self._waiting[:length]))
                self._waiting = self._waiting[length:]
        if self._arguments is not None and not self._arguments.is_reached:
            return pieces, ""
        return self._closed(pieces)

    def finish(self) -> str:
        """Return the text of what was cut off before it became a call."""
        return "" if self.is_call else OPENING + self._waiting

    def _closed(self, pieces: list[Piece]) -> tuple[list[Piece], str]:
        inside, closing, rest = self._waiting.partition(CLOSING)
        if not closing:
            return pieces, ""
        self.rest = rest
        if self.is_call:
            return pieces, ""
        whole = _whole(inside)
        if whole is None:
            return pieces, OPENING + inside + CLOSING
        return [self._opening(*whole)], ""

    def _opening(self, name: str, arguments: str) -> Piece:
        self.is_call = True
        function = {"name": name, "arguments": arguments}
        return {
            "index": self._index,
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": function,
        }

    def _continuation(self, arguments: str) -> Piece:
        return {"index": self._index, "function": {"arguments": arguments}}


def _whole(text: str) -> tuple[str, str] | None:
    """Return name and arguments of a call whose JSON is not in the usual order or form."""
    try:
        call = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):
        return call["name"], arguments
    return call["name"], orjson.dumps({} if arguments is None else arguments).decode()


class _ObjectEnd:
    """Finds the brace that closes a JSON object, in a text that comes in pieces and begins with its opening brace."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._is_escaped = False
        self.is_reached = False

    def find(self, text: str) -> int:
        """Return how much of ``text`` belongs to the object."""
        for position, character in enumerate(text):
            if self._is_escaped:
                self._is_escaped = False
            elif self._in_string:
                self._is_escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.is_reached = True
                    return position + 1
        return len(text)
