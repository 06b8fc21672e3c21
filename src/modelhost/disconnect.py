"""What it means for the work in hand that the client has left: nobody could read what it would bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class ClientDisconnected(Exception):
    """The client closed the connection; nobody is there to be answered."""


@asynccontextmanager
async def cancel_on_disconnect(left: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Cancel what is inside as soon as ``left()`` returns, and raise :class:`ClientDisconnected` instead.

    A cancellation that comes from elsewhere stays one. ``left()`` ends with what is inside.
    """
    work = asyncio.current_task()
    assert work is not None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        await left()
        has_left = True
        work.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not has_left:
            raise
        work.uncancel()
        raise ClientDisconnected from None
    finally:
        watcher.cancel()
