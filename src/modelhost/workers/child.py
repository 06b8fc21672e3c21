"""One child process and the three pipes to it, for the event loop of the thread that starts it.

Not by the loop's own ``subprocess_exec``: that of uvloop forks, for 7 ms (50 ms where the host holds 300 MB) in which
nothing else runs, so each load of a model would stall every open stream; :class:`subprocess.Popen` takes 0.7 ms in any
host, by ``vfork``. Nor by ``connect_read_pipe``: uvloop closes the descriptor of a pipe twice, and the second time it
can be one that another thread has just opened.
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
    """A running process with a session of its own; to be closed when it has ended and its output is read.

    The kernel takes the *thread* that starts it for its parent (``PR_SET_PDEATHSIG``): start it from the thread of an
    event loop that lives as long as the host.
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
        """Start ``argv``, in the folder ``cwd``. ``line_bytes`` is the longest line that its streams can take apart.

        What it writes is for this user alone if it ``is_private``.

        Raises:
            OSError: the operating system cannot (no memory, no descriptors, no such program).
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
            # Out of reach of a Ctrl-C in the terminal, and one group to end.
            start_new_session=True,
        )
        self.exited = asyncio.Event()
        """Set at once when the process has ended and is reaped, even while another process holds its pipes open."""
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
        """The exit status, ``-N`` after signal N; ``None`` until :attr:`exited`."""
        return self._process.returncode

    @property
    def stdout(self) -> asyncio.StreamReader:
        return self._outputs[0].stream

    @property
    def stderr(self) -> asyncio.StreamReader:
        return self._outputs[1].stream

    def send(self, data: bytes) -> bool:
        """Write ``data`` to its standard input, which stays open; what it has not read when it ends is lost.

        Returns whether anybody can read it: without, nothing of it has arrived.
        """
        return self._input.send(data)

    async def sent(self) -> None:
        """Return when the pipe has taken everything.

        Raises:
            BrokenPipeError: nobody will read the rest.
        """
        await self._input.sent()

    def close_input(self) -> None:
        """End its standard input."""
        self._input.close()

    def close(self) -> None:
        """Close the pipes."""
        for pipe in (self._input, *self._outputs):
            pipe.close()

    def _watch_exit(self) -> None:
        """Learn of the end from a descriptor of the process; from a thread where there is none (macOS, old kernels)."""
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
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._note_exit)

    def _note_exit(self) -> None:
        self._input.close()
        self.exited.set()


class _Input:
    """The end of a pipe that is written to, without ever blocking."""

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
        except BrokenPipeError:  # its end is told by its exit, and the reason stands in its output
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
    """The end of a pipe that is read, into :attr:`stream`: whoever has the stream must read it to its end.

    To the stream it is a transport: a stream that is full has it wait.
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
