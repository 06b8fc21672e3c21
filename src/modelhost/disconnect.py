"""Cancellation of work whose client has disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class ClientDisconnected(Exception):
    """The client closed the connection."""


@asynccontextmanager
async def cancel_on_disconnect(disconnected: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Cancel what is inside when ``disconnected()`` returns, and raise :class:`ClientDisconnected`.

    Other cancellations are not converted. ``disconnected()`` is cancelled at the end.
    """
    work = asyncio.current_task()
    assert work is not None
    is_disconnected = False

    async def watch() -> None:
        nonlocal is_disconnected
        await disconnected()
        is_disconnected = True
        work.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not is_disconnected:
            raise
        work.uncancel()
        raise ClientDisconnected from None
    finally:
        watcher.cancel()
