"""Telling a client how far an operation is, while it is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from modelhost.operations.operation import OnProgress, Progress


@asynccontextmanager
async def sending_progress(send: Callable[[Progress], Awaitable[None]]) -> AsyncIterator[OnProgress]:
    """Have ``send`` send what an operation tells, from whatever thread, one after the other.

    All has been sent when the context is left; nothing more is sent once it is left by an error.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[Progress | None] = asyncio.Queue()

    async def send_all() -> None:
        while (progress := await told.get()) is not None:
            await send(progress)

    sending = asyncio.create_task(send_all(), name="sending progress")
    try:
        yield lambda progress: _tell(loop, told, progress)
        _tell(loop, told, None)  # behind what other threads have told before
        await sending
    finally:
        sending.cancel()


def _tell(loop: asyncio.AbstractEventLoop, told: asyncio.Queue[Progress | None], progress: Progress | None) -> None:
    loop.call_soon_threadsafe(told.put_nowait, progress)


class CombinedProgress:
    """How far several are that are at work at the same time, told as one."""

    def __init__(self, count: int, on_progress: OnProgress) -> None:
        self._fractions = [0.0] * count
        self._on_progress = on_progress

    def of(self, place: int) -> OnProgress:
        """Return what is told how far the one at ``place`` is, counted from 0."""

        def tell(progress: Progress) -> None:
            self._fractions[place] = progress.fraction or 0.0
            share = sum(self._fractions) / len(self._fractions)
            self._on_progress(Progress(fraction=share, message=progress.message))

        return tell
