"""One child process and its three pipes, for the event loop of the thread that starts it.

It does not use the loop's ``subprocess_exec``: uvloop's forks, which blocks everything for 7 ms (50 ms in a host of
300 MB), so that each load of a model would stall every open stream; :class:`subprocess.Popen` takes 0.7 ms in any
host, by ``vfork``. Nor does it use ``connect_read_pipe``: uvloop closes the descriptor of a pipe twice, and the second
time it may belong to a file that another thread has just opened.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, cast

BLOCK_BYTES = 65536  # what a pipe of Linux holds
PRIVATE_UMASK = 0o077  # files 0600, folders 0700
LINE_BYTES = 65536


class Child:
    """A running process in its own session; close it when it has ended and its output is read.

    For the kernel its parent is the *thread* that starts it (``PR_SET_PDEATHSIG``): start it in the thread of an event
    loop that lives as long as the host.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        cwd: str | None = None,
        line_bytes: int = LINE_BYTES,
        is_private: bool = False,
    ) -> None:
        """Start ``argv`` in the folder ``cwd``. ``line_bytes`` is the longest line that its streams can read.

        If it ``is_private``, its files are readable by this user only.

        Raises:
            OSError: it cannot be started (no memory, no descriptors, no such program).
        """
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(  # noqa: S603 - the command of an engine
            argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            umask=PRIVATE_UMASK if is_private else -1,
            # Ctrl-C in the terminal does not reach it, and its group can be ended at once.
            start_new_session=True,
        )
        self.exited = asyncio.Event()
        """Set when the process has ended and is reaped, even if another process holds its pipes open."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._input = _Input(self._process.stdin)
        self._outputs = (_Output(self._process.stdout, line_bytes), _Output(self._process.stderr, line_bytes))
        self._watch_exit()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, ``-N`` after signal N; ``None`` until it is reaped, which :attr:`is_running` may do."""
        return self._process.returncode

    @property
    def is_running(self) -> bool:
        """Whether it has not ended: mostly known before :attr:`exited`, at the price of a system call."""
        return self._process.poll() is None

    @property
    def stdout(self) -> asyncio.StreamReader:
        return self._outputs[0].stream

    @property
    def stderr(self) -> asyncio.StreamReader:
        return self._outputs[1].stream

    def send(self, data: bytes) -> bool:
        """Write ``data`` to its standard input, which stays open; unread data is lost when the process ends.

        Returns whether anybody can read it; if not, nothing of it has arrived.
        """
        return self._input.send(data)

    async def sent(self) -> None:
        """Wait until everything is written to the pipe.

        Raises:
            BrokenPipeError: the rest will not be read.
        """
        await self._input.sent()

    def close_input(self) -> None:
        self._input.close()

    def close(self) -> None:
        for pipe in (self._input, *self._outputs):
            pipe.close()

    def _watch_exit(self) -> None:
        """Watch for the exit, by a descriptor of the process or a thread where there is none (macOS, old kernels)."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            threading.Thread(target=self._wait_for_exit, name=f"exit-of-{self.pid}", daemon=True).start()
        else:
            self._loop.add_reader(descriptor, self._see_exit, descriptor)

    def _see_exit(self, descriptor: int) -> None:
        if self._process.poll() is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            self._note_exit()

    def _wait_for_exit(self) -> None:
        self._process.wait()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._note_exit)

    def _note_exit(self) -> None:
        self._input.close()
        self.exited.set()


class _Input:
    """The writing end of a pipe; never blocks."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        self._unsent = bytearray()
        self._waiters: list[asyncio.Future[None]] = []
        os.set_blocking(pipe.fileno(), False)

    def send(self, data: bytes) -> bool:
        if not self._pipe.closed:
            self._unsent += data
            self._write()
        return not self._pipe.closed

    async def sent(self) -> None:
        while self._unsent:
            if self._pipe.closed:
                raise BrokenPipeError
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def close(self) -> None:
        if not self._pipe.closed:
            self._loop.remove_writer(self._pipe.fileno())
            self._pipe.close()
            self._wake()

    def _write(self) -> None:
        try:
            sent = os.write(self._pipe.fileno(), self._unsent)
        except BlockingIOError:
            sent = 0
        except BrokenPipeError:  # the exit reports its end, and its output the reason
            self.close()
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._pipe.fileno(), self._write)
        else:
            self._loop.remove_writer(self._pipe.fileno())
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class _Output:
    """The reading end of a pipe, read into :attr:`stream`, which must be read to its end.

    It is the stream's transport, which a full stream pauses.
    """

    def __init__(self, pipe: IO[bytes], line_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        self.stream = asyncio.StreamReader(limit=line_bytes)
        self.stream.set_transport(cast("asyncio.Transport", self))
        os.set_blocking(pipe.fileno(), False)
        self.resume_reading()

    def pause_reading(self) -> None:
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe.fileno())

    def resume_reading(self) -> None:
        if not self._pipe.closed:
            self._loop.add_reader(self._pipe.fileno(), self._read)

    def close(self) -> None:
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()
            self.stream.feed_eof()

    def _read(self) -> None:
        try:
            block = os.read(self._pipe.fileno(), BLOCK_BYTES)
        except BlockingIOError:
            return
        if block:
            self.stream.feed_data(block)
        else:
            self.close()
