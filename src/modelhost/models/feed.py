"""News of the models for any number of listeners, of which a slow one delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from modelhost.models.states import ModelEvent


class Listener:
    """What one listener has not read yet: of each model the last event of each kind, so that there is an end to it."""

    def __init__(self, first: Iterable[ModelEvent]) -> None:
        self._pending = {(event.model, event.kind): event for event in first}
        self._news = asyncio.Event()
        self._is_closed = False
        self._news.set()

    def tell(self, event: ModelEvent) -> None:
        """Keep ``event`` until it is read, in the place of an older one of its kind, but as the newest."""
        self._pending.pop((event.model, event.kind), None)
        self._pending[event.model, event.kind] = event
        self._news.set()

    def close(self) -> None:
        """End the iteration, after what is pending."""
        self._is_closed = True
        self._news.set()

    async def read(self) -> AsyncIterator[ModelEvent]:
        """Yield the events as they come, until the feed is closed."""
        while True:
            await self._news.wait()
            while self._pending:
                yield self._pending.pop(next(iter(self._pending)))
            if self._is_closed:
                return
            self._news.clear()


class Feed:
    """Tells every listener."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    @property
    def has_listeners(self) -> bool:
        return bool(self._listeners)

    def listen(self, first: Iterable[ModelEvent]) -> Listener:
        """Return a new listener that begins with the events ``first``."""
        listener = Listener(first)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def tell(self, event: ModelEvent) -> None:
        for listener in self._listeners:
            listener.tell(event)

    def close(self) -> None:
        """End all listening."""
        for listener in self._listeners:
            listener.close()
