"""Where a JSON object ends, in a text that comes in pieces."""

from __future__ import annotations


class ObjectEnd:
    """Finds the brace that closes an object: one that begins the text, or the ``depth`` that were open before it."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
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
