"""Standard error as a place for logs that nobody may be reading."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from modelhost.mcp_servers.wire import ROOM_BYTES, has_room


class UnreadableOutput(io.RawIOBase):
    """A pipe that nobody may be reading: what there is no room for is dropped.

    Standard error is such a pipe under a program that keeps it and never reads it. After 64 KiB of log a server that
    insists on writing would stand still for ever.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._written_bytes = 0
        self._enough_bytes: int | None = None
        self._on_enough: Callable[[], None] | None = None
        self._has_ended = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def limit(self, enough_bytes: int, on_enough: Callable[[], None]) -> None:
        """Call ``on_enough`` once so many bytes have been written, those before this call among them.

        Whatever it does, no more than twice as many are written.
        """
        self._enough_bytes, self._on_enough = enough_bytes, on_enough

    def end(self) -> None:
        """Drop all that comes from now on."""
        self._has_ended = True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        view = memoryview(data)
        for start in range(0, len(view), ROOM_BYTES):
            piece = view[start : start + ROOM_BYTES]
            if not self._may_write(len(piece)) or not has_room(self._fd):
                break
            with suppress(OSError):
                os.write(self._fd, piece)
            self._written_bytes += len(piece)
        self._note_enough()
        return len(view)

    def _may_write(self, count: int) -> bool:
        if self._has_ended:
            return False
        return self._enough_bytes is None or self._written_bytes + count <= 2 * self._enough_bytes

    def _note_enough(self) -> None:
        told = self._on_enough
        if told is not None and self._enough_bytes is not None and self._written_bytes >= self._enough_bytes:
            self._on_enough = None
            told()


def patient_stderr() -> UnreadableOutput | None:
    """Have standard error never wait for its reader, where it is a pipe or a socket; ``None`` where it is neither."""
    try:
        kind = os.fstat(2).st_mode
    except OSError:
        return None
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return None
    output = UnreadableOutput(2)
    raw: Any = output  # typeshed asks for more than a buffered writer does
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="replace", line_buffering=True)
    return output
