"""Sending the progress of an operation to a client while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from modelhost.operations.operation import OnProgress, Progress

Step = TypeVar("Step")


@asynccontextmanager
async def sending_progress(send: Callable[[Step], Awaitable[None]]) -> AsyncIterator[Callable[[Step], None]]:
    """Yield a callback, for any thread, whose progress ``send`` sends in order.

    All of it has been sent when the context ends; nothing is sent any more after an error.
    """
    loop = asyncio.get_running_loop()
    steps: asyncio.Queue[Step | None] = asyncio.Queue()

    async def send_all() -> None:
        while (progress := await steps.get()) is not None:
            await send(progress)

    sending = asyncio.create_task(send_all(), name="sending progress")
    try:
        yield lambda progress: _put(loop, steps, progress)
        _put(loop, steps, None)  # behind what other threads have put before
        await sending
    finally:
        sending.cancel()


def _put(loop: asyncio.AbstractEventLoop, steps: asyncio.Queue[Step | None], progress: Step | None) -> None:
    loop.call_soon_threadsafe(steps.put_nowait, progress)


class CombinedProgress:
    """The combined progress of several concurrent operations."""

    def __init__(self, count: int, on_progress: OnProgress) -> None:
        self._fractions = [0.0] * count
        self._on_progress = on_progress

    def of(self, place: int) -> OnProgress:
        """Return the callback of the operation ``place``, counted from 0."""

        def report(progress: Progress) -> None:
            self._fractions[place] = progress.fraction or 0.0
            share = sum(self._fractions) / len(self._fractions)
            self._on_progress(Progress(fraction=share, message=progress.message))

        return report
