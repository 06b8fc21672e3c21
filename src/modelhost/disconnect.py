"""Cancellation of work whose client has disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class ClientDisconnected(Exception):
    """The client closed the connection."""


class Disconnection:
    """Of the client of one request; its connection tells, so that no task has to wait for it.

    ``listen`` has the connection read what comes: one that reads nothing does not notice.
    """

    __slots__ = ("_then", "has_happened", "listen")

    def __init__(self, listen: Callable[[], None]) -> None:
        self.listen = listen
        self.has_happened = False
        self._then: Callable[[], None] | None = None

    def tell(self) -> None:
        """Note that the client has disconnected."""
        self.has_happened = True
        if self._then is not None:
            self._then()

    def call(self, then: Callable[[], None]) -> None:
        """Call ``then`` when the client disconnects, or now if it has; not what was to be called so far."""
        self._then = then
        self.listen()
        if self.has_happened:
            then()

    def call_nothing(self) -> None:
        self._then = None


class cancel_when_told:  # noqa: N801 (as cancel_on_disconnect)
    """As :class:`cancel_on_disconnect`, where the connection tells: a task costs a request as much as many tokens."""

    __slots__ = ("_disconnection", "_is_cancelled", "_work")

    def __init__(self, disconnection: Disconnection) -> None:
        self._disconnection = disconnection
        self._is_cancelled = False

    async def __aenter__(self) -> None:
        work = asyncio.current_task()
        assert work is not None
        self._work = work
        self._disconnection.call(self._cancel)

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._disconnection.call_nothing()
        if self._is_cancelled and isinstance(error, asyncio.CancelledError):
            self._work.uncancel()
            raise ClientDisconnected from None

    def _cancel(self) -> None:
        self._is_cancelled = True
        self._work.cancel()


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
