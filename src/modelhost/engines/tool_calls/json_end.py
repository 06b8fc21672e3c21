"""The end of a JSON object in a text that comes in pieces, and corrections of what models write in it.

They write unescaped line breaks in strings, and sometimes strings, booleans and null in Python's syntax.
"""

from __future__ import annotations

import re
from typing import Final

_FOREIGN: Final = re.compile(r"[\x00-\x1f']|True|False|None")
_WORD: Final = re.compile(r"[A-Za-z]+")
_ESCAPES: Final = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r"}
_PYTHON: Final = {"True": "true", "False": "false", "None": "null"}


class ObjectEnd:
    """Finds the brace that closes an object: one that begins the text, or ``depth`` objects that are already open."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._quote = ""  # of the open string
        self._changes: list[tuple[int, int, str]] = []  # of the last search: start, end, replacement
        self.is_reached = False

    def read(self, text: str) -> tuple[str, int]:
        """Return the part of ``text`` that belongs to the object, as JSON, and its original length.

        The end of ``text`` may be left for the next call: its meaning depends on what follows.
        """
        length = self.find(text)
        parts, start = list[str](), 0
        for begin, end, written in self._changes:
            parts += text[start:begin], written
            start = end
        return "".join([*parts, text[start:length]]), length

    def find(self, text: str) -> int:
        """Return the length of the part of ``text`` that is known to belong to the object."""
        self._changes.clear()
        position = 0
        while position < len(text) and not self.is_reached:
            step = self._in_text(text, position) if self._quote else self._outside(text, position)
            if not step:
                break
            position += step
        return position

    def _in_text(self, text: str, position: int) -> int:
        """Return the length of the element at ``position`` within a string; 0 if more text is needed."""
        character = text[position]
        if character == "\\":
            following = text[position + 1 : position + 2]
            if following == "'":
                self._change(position, 2, "'")
            elif following and following < " ":
                self._change(position, 2, _escape(following))
            return 2 if following else 0
        if character == self._quote:
            self._quote = ""
            if character == "'":
                self._change(position, 1, '"')
        elif character == '"' or character < " ":
            self._change(position, 1, _escape(character))
        return 1

    def _outside(self, text: str, position: int) -> int:
        character = text[position]
        if character in "\"'":
            self._quote = character
            if character == "'":
                self._change(position, 1, '"')
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self.is_reached = self._depth == 0
        elif (word := _WORD.match(text, position)) is not None:
            if word.end() == len(text) and any(name.startswith(word[0]) for name in _PYTHON):
                return 0
            if word[0] in _PYTHON:
                self._change(position, len(word[0]), _PYTHON[word[0]])
            return len(word[0])
        return 1

    def _change(self, position: int, length: int, written: str) -> None:
        self._changes.append((position, position + length, written))


def as_json(text: str) -> str:
    """Return the object or array ``text`` as JSON; what does not belong to it is left unchanged."""
    if _FOREIGN.search(text) is None:
        return text
    written, length = ObjectEnd().read(text)
    return written + text[length:]


def _escape(character: str) -> str:
    """Return ``character`` escaped for a JSON string."""
    return f"\\{character}" if character == '"' else f"\\{_ESCAPES.get(character, f'u{ord(character):04x}')}"
