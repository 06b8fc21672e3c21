"""News for any number of listeners, of which a slow one delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Generic, Protocol, TypeVar


class Event(Protocol):
    """What is told."""

    @property
    def about(self) -> tuple[str, str]:
        """Whom and what it is about; of two events about the same, the later one is all that a listener needs."""


E = TypeVar("E", bound=Event)


class Listener(Generic[E]):
    """What one listener has not read yet: of each matter the last event, so that there is an end to it."""

    def __init__(self, first: Iterable[E]) -> None:
        self._pending = {event.about: event for event in first}
        self._news = asyncio.Event()
        self._is_closed = False
        self._news.set()

    def tell(self, event: E) -> None:
        """Keep ``event`` until it is read, in the place of an older one about the same, but as the newest."""
        self._pending.pop(event.about, None)
        self._pending[event.about] = event
        self._news.set()

    def close(self) -> None:
        """End the iteration, after what is pending."""
        self._is_closed = True
        self._news.set()

    async def read(self) -> AsyncIterator[E]:
        """Yield the events as they come, until the feed is closed."""
        while True:
            await self._news.wait()
            while self._pending:
                yield self._pending.pop(next(iter(self._pending)))
            if self._is_closed:
                return
            self._news.clear()


class Feed(Generic[E]):
    """Tells every listener."""

    def __init__(self) -> None:
        self._listeners: set[Listener[E]] = set()

    @property
    def has_listeners(self) -> bool:
        return bool(self._listeners)

    def listen(self, first: Iterable[E]) -> Listener[E]:
        """Return a new listener that begins with the events ``first``."""
        listener = Listener(first)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener[E]) -> None:
        self._listeners.discard(listener)

    def tell(self, event: E) -> None:
        for listener in self._listeners:
            listener.tell(event)

    def close(self) -> None:
        """End all listening."""
        for listener in self._listeners:
            listener.close()
