"""Cancellation of work whose client has disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class ClientDisconnected(Exception):
    """The client closed the connection."""


class cancel_on_disconnect:  # noqa: N801 (used like a function made by contextlib, which would cost a request more)
    """Cancel what is inside when ``disconnected()`` returns, and raise :class:`ClientDisconnected`.

    Other cancellations are not converted. ``disconnected()`` is cancelled at the end.
    """

    __slots__ = ("_disconnected", "_is_disconnected", "_watcher", "_work")

    def __init__(self, disconnected: Callable[[], Awaitable[object]]) -> None:
        self._disconnected = disconnected
        self._is_disconnected = False

    async def __aenter__(self) -> None:
        work = asyncio.current_task()
        assert work is not None
        self._work = work
        self._watcher = asyncio.create_task(self._watch())

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._watcher.cancel()
        del self._watcher  # which refers to this object: memory of requests would be freed by the collector only
        if self._is_disconnected and isinstance(error, asyncio.CancelledError):
            self._work.uncancel()
            raise ClientDisconnected from None

    async def _watch(self) -> None:
        await self._disconnected()
        self._is_disconnected = True
        self._work.cancel()
