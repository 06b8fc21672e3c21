"""Where a JSON object ends, in a text that comes in pieces, and its texts as JSON wants them.

Models write line breaks within texts as they are, which JSON does not allow.
"""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_ESCAPES: Final = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r"}


class ObjectEnd:
    """Finds the brace that closes an object: one that begins the text, or the ``depth`` that were open before it."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._in_string = self._is_escaped = False
        self._bare: list[tuple[int, bool]] = []  # control characters in texts, and whether a backslash precedes
        self.is_reached = False

    def read(self, text: str) -> tuple[str, int]:
        """Return what of ``text`` belongs to the object, with control characters in texts escaped, and its length."""
        length = self.find(text)
        parts, start = list[str](), 0
        for position, is_escaped in self._bare:
            parts += text[start:position], _escape(text[position], is_escaped=is_escaped)
            start = position + 1
        return "".join([*parts, text[start:length]]), length

    def find(self, text: str) -> int:
        """Return how much of ``text`` belongs to the object."""
        self._bare.clear()
        for position, character in enumerate(text):
            if character < " " and self._in_string:
                self._bare.append((position, self._is_escaped))
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


def escaped(text: str) -> str:
    """Return the JSON object, or array, ``text`` with the control characters in its texts escaped."""
    if _CONTROL.search(text) is None:
        return text
    written, length = ObjectEnd().read(text)
    return written + text[length:]


def _escape(character: str, *, is_escaped: bool) -> str:
    """Return a control character as JSON writes it; with ``is_escaped`` the backslash is there."""
    return ("" if is_escaped else "\\") + _ESCAPES.get(character, f"u{ord(character):04x}")
