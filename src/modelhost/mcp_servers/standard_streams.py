"""Standard input and output as the transport of a protocol, and standard error as a log that may have no reader.

Input is read by lines, and output is written without blocking the event loop. The streams are not made non-blocking,
since the parent process may share them; instead only as much is written as fits into the kernel's buffer. Input may be
a pipe, a socket, a terminal or a file.
"""

from __future__ import annotations

import asyncio
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

MIN_FREE_BYTES: Final = 512 if sys.platform == "darwin" else select.PIPE_BUF
"""A writable pipe takes at least this much."""
READ_BYTES: Final = 65536
HIGH_WATER_BYTES: Final = 1 << 20
FIRST_FREE: Final = 3  # the descriptor after those of standard input, output and error


class LineTooLong(Exception):
    """A line was too long and has been skipped."""


class LineStreams:
    """Reads lines and writes bytes without blocking; created by :func:`standard_streams`."""

    def __init__(self, input_fd: int, output_fd: int, *, line_bytes: int) -> None:
        """``line_bytes`` is the length of the longest line."""
        self._loop = asyncio.get_running_loop()
        self._input, self._output = input_fd, output_fd
        self._line_bytes = line_bytes
        self._read = bytearray()
        self._searched = 0
        self._unsent = bytearray()
        self._drained: asyncio.Future[None] | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the output has no reader any more."""
        self._watch_output()

    async def read_line(self) -> bytes | None:
        """Return the next line without its end; ``None`` at the end of the input.

        Raises:
            LineTooLong: once for every such line.
        """
        is_skipping = False
        while True:
            end = self._read.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._read[:end])
                del self._read[: end + 1]
                self._searched = 0
                if is_skipping or len(line) > self._line_bytes:
                    raise LineTooLong
                return line
            self._searched = len(self._read)
            if self._searched > self._line_bytes:
                is_skipping = True
                self._read.clear()
                self._searched = 0
            chunk = await self._chunk()
            if not chunk:
                return self._rest()
            self._read += chunk

    def _rest(self) -> bytes | None:
        """Return what came after the last newline, as ``echo -n`` writes."""
        rest = bytes(self._read)
        self._read.clear()
        self._searched = 0
        return rest or None

    async def _chunk(self) -> bytes:
        ready: asyncio.Future[None] = self._loop.create_future()
        try:
            self._loop.add_reader(self._input, _settle, ready)
        except OSError:  # a file, which is always ready
            return os.read(self._input, READ_BYTES)
        try:
            await ready
            return os.read(self._input, READ_BYTES)
        except ConnectionError:
            return b""
        finally:
            self._loop.remove_reader(self._input)

    async def write(self, data: bytes) -> None:
        """Write ``data``; waits while too much is unsent.

        Raises:
            BrokenPipeError: the output has no reader any more.
        """
        if self.closed.done():
            raise BrokenPipeError
        had_waited = bool(self._unsent)
        self._unsent += data
        if not had_waited:
            self._send()
        if len(self._unsent) > HIGH_WATER_BYTES:
            await self.drain()

    async def drain(self) -> None:
        """Wait until everything is written; raises BrokenPipeError if the output has no reader any more."""
        while self._unsent and not self.closed.done():
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)
        if self._unsent:
            raise BrokenPipeError

    def _send(self) -> None:
        while self._unsent and has_room(self._output):
            try:
                sent = os.write(self._output, self._unsent[:MIN_FREE_BYTES])
            except OSError:
                self._lose()
                return
            del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._output, self._send)
            return
        with suppress(OSError):  # files have no writer callback
            self._loop.remove_writer(self._output)
        self._wake()

    def _watch_output(self) -> None:
        """Detect that the reader of a pipe or socket leaves while there is nothing to write."""
        status = os.fstat(self._output)
        is_own = os.fstat(self._input).st_ino != status.st_ino  # if both are one socket, this would report input
        if is_own and (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)):
            self._loop.add_reader(self._output, self._lose)

    def _lose(self) -> None:
        for forget in (self._loop.remove_reader, self._loop.remove_writer):
            with suppress(OSError):
                forget(self._output)
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._drained is not None:
            _settle(self._drained)
            self._drained = None


@contextmanager
def standard_streams(*, line_bytes: int) -> Iterator[LineStreams]:
    """Yield the streams of this process, within its event loop.

    Meanwhile ``print`` writes to standard error, and child processes inherit ``/dev/null``.
    """
    wire_in, wire_out = (_above_standard(fd) for fd in (0, 1))
    stdout = sys.stdout
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        sys.stdout = sys.stderr
        yield LineStreams(wire_in, wire_out, line_bytes=line_bytes)
    finally:
        sys.stdout = stdout
        os.dup2(wire_in, 0)
        os.dup2(wire_out, 1)
        for fd in (nowhere, wire_in, wire_out):
            os.close(fd)


def _above_standard(fd: int) -> int:
    copies = [os.dup(fd)]
    while copies[-1] < FIRST_FREE:  # standard error was closed
        copies.append(os.dup(fd))
    for copy in copies[:-1]:
        os.close(copy)
    return copies[-1]


def has_room(fd: int) -> bool:
    """Whether ``fd`` can be written without blocking; also true for errors, which writing then reports."""
    return bool(select.select([], [fd], [], 0)[1])


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class UnreadableOutput(io.RawIOBase):
    """A pipe that may have no reader: output for which there is no room is dropped.

    Some parent processes never read standard error: after 64 KiB of log, a blocking write would hang forever.
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
        """Call ``on_enough`` once ``enough_bytes`` have been written in total.

        In any case, no more than twice as many are written.
        """
        self._enough_bytes, self._on_enough = enough_bytes, on_enough

    def end(self) -> None:
        """Drop all further output."""
        self._has_ended = True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        view = memoryview(data)
        for start in range(0, len(view), MIN_FREE_BYTES):
            piece = view[start : start + MIN_FREE_BYTES]
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
        on_enough = self._on_enough
        if on_enough is not None and self._enough_bytes is not None and self._written_bytes >= self._enough_bytes:
            self._on_enough = None
            on_enough()


def nonblocking_stderr() -> UnreadableOutput | None:
    """Make standard error non-blocking if it is a pipe or a socket; ``None`` if it is neither."""
    try:
        kind = os.fstat(2).st_mode
    except OSError:
        return None
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return None
    output = UnreadableOutput(2)
    raw: Any = output  # typeshed requires more than BufferedWriter does
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="replace", line_buffering=True)
    return output
