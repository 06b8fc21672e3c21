"""News of the servers for any number of listeners, of which a slow one delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Literal

from modelhost.tools.status import ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEvent:
    """A server changed its state, or its tools, or is gone from the configuration."""

    at: float
    kind: Literal["state", "tools", "removed"]
    server: str
    state: ServerState | None = None
    message: str | None = None


class ToolListener:
    """What one listener has not read yet: of each server the last event of each kind, so that there is an end to it."""

    def __init__(self, first: Iterable[ToolEvent]) -> None:
        self._pending = {(event.server, event.kind): event for event in first}
        self._news = asyncio.Event()
        self._is_closed = False
        self._news.set()

    def tell(self, event: ToolEvent) -> None:
        """Keep ``event`` until it is read, in the place of an older one of its kind, but as the newest."""
        self._pending.pop((event.server, event.kind), None)
        self._pending[event.server, event.kind] = event
        self._news.set()

    def close(self) -> None:
        """End the iteration, after what is pending."""
        self._is_closed = True
        self._news.set()

    async def read(self) -> AsyncIterator[ToolEvent]:
        """Yield the events as they come, until the hub is stopped."""
        while True:
            await self._news.wait()
            while self._pending:
                yield self._pending.pop(next(iter(self._pending)))
            if self._is_closed:
                return
            self._news.clear()


class ToolFeed:
    """Tells every listener."""

    def __init__(self) -> None:
        self._listeners: set[ToolListener] = set()

    def listen(self, first: Iterable[ToolEvent]) -> ToolListener:
        """Return a new listener that begins with the events ``first``."""
        listener = ToolListener(first)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: ToolListener) -> None:
        self._listeners.discard(listener)

    def tell(self, event: ToolEvent) -> None:
        for listener in self._listeners:
            listener.tell(event)

    def close(self) -> None:
        """End all listening."""
        for listener in self._listeners:
            listener.close()
