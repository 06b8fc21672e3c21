"""Waiting for what another process does, where no event tells of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

POLL_SECONDS = 0.02
LONG_ENOUGH_SECONDS = 60.0
"""Ends what hangs, also on a machine that is busy with other tests; it says nothing about speed."""


def eventually(holds: Callable[[], object], *, seconds: float = LONG_ENOUGH_SECONDS) -> None:
    """Return as soon as ``holds()`` is true; fail if it is not within ``seconds``."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"still not so after {seconds:g} s"
        time.sleep(POLL_SECONDS)


async def eventually_async(holds: Callable[[], object], *, seconds: float = LONG_ENOUGH_SECONDS) -> None:
    """As :func:`eventually`, while the event loop goes on."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 (another process changes it)
            await asyncio.sleep(POLL_SECONDS)
