"""The jobs of a worker: one at a time, in a thread of their own, with an answer that is streamed as it is made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

Emit = Callable[[bytes], bool]
"""Sends a part of the answer; returns whether to go on. False: the client has left, and the job has to end."""
Job = Callable[[Emit], None]
"""Raises what the request is refused or has failed for."""
BUFFERED: Final = 64
"""Parts of an answer that wait for a slow client before its job waits too."""


class Jobs:
    """Runs jobs one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="job")

    async def stream(self, job: Job, on_begin: Callable[[], None] | None = None) -> AsyncGenerator[bytes, None]:
        """Yield what ``job`` emits, and raise what it raises. Closing the generator cancels it at its next part.

        The job begins once ``on_begin``, called in the event loop, has been called and what it wrote has been sent.
        """
        bridge = _Bridge(on_begin)
        future = self._pool.submit(bridge.run, job)
        try:
            while (part := await bridge.parts.get()) is not None:
                bridge.taken()
                yield part
            await asyncio.wrap_future(future)
        finally:
            bridge.cancel()


class _Bridge:
    """Between the thread of a job and the event loop."""

    def __init__(self, on_begin: Callable[[], None] | None) -> None:
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._on_begin = on_begin
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(BUFFERED)
        self._is_cancelled = False

    def taken(self) -> None:
        self._room.release()

    def cancel(self) -> None:
        self._is_cancelled = True
        self._room.release()  # for a job that waits for room

    def run(self, job: Job) -> None:
        try:
            if not self._is_cancelled:
                self._announce()
                job(self._emit)
        finally:
            self._loop.call_soon_threadsafe(self.parts.put_nowait, None)

    def _announce(self) -> None:
        if self._on_begin is None:
            return
        is_announced = threading.Event()

        def announce() -> None:
            assert self._on_begin is not None
            self._on_begin()
            self._loop.call_soon(is_announced.set)  # in the next turn of the loop, which has written by then

        self._loop.call_soon_threadsafe(announce)
        is_announced.wait()

    def _emit(self, part: bytes) -> bool:
        if part and not self._is_cancelled:
            self._room.acquire()
            self._loop.call_soon_threadsafe(self.parts.put_nowait, part)
        return not self._is_cancelled
