"""The last lines that a server wrote to its standard error."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

MAX_LINES: Final = 200
MAX_LENGTH: Final = 2000  # of one line; the rest of a longer one is dropped


class LineBuffer:
    """Takes bytes as they come, and keeps the last lines of them: a flood costs no memory."""

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        """Take what is told every line that is kept."""
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Take what was read. Only the last lines of a large chunk are looked at."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines[-MAX_LINES:]:
            self.add(line.decode(errors="replace").rstrip("\r"))
        self._rest = rest[:MAX_LENGTH]

    def end(self) -> None:
        """Take what has no end of line as the last line."""
        if self._rest:
            self.add(self._rest.decode(errors="replace"))
            self._rest = b""

    def add(self, line: str) -> None:
        self._lines.append(line[:MAX_LENGTH])
        if self._on_line is not None:
            self._on_line(line[:MAX_LENGTH])

    def tail(self, count: int = MAX_LINES) -> list[str]:
        """The last ``count`` lines, of which the last may be unfinished."""
        lines = [*self._lines, *([self._rest.decode(errors="replace")] if self._rest else [])]
        return lines[-count:]
