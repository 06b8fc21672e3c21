"""Events for any number of subscribers, of which a slow one delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Generic, Protocol, TypeVar


class Event(Protocol):
    """What is published."""

    @property
    def about(self) -> tuple[str, str]:
        """Whom and what it is about; of two events about the same, a subscriber needs only the later one."""


E = TypeVar("E", bound=Event)


class Subscription(Generic[E]):
    """The events that one subscriber has not read yet, of each matter the last one, so that their number is bounded."""

    def __init__(self, first: Iterable[E]) -> None:
        self._pending = {event.about: event for event in first}
        self._changed = asyncio.Event()
        self._is_closed = False
        self._changed.set()

    def put(self, event: E) -> None:
        """Keep ``event`` until it is read, in the place of an older one about the same, but as the newest."""
        self._pending.pop(event.about, None)
        self._pending[event.about] = event
        self._changed.set()

    def close(self) -> None:
        """End the iteration, after what is pending."""
        self._is_closed = True
        self._changed.set()

    async def read(self) -> AsyncIterator[E]:
        """Yield the events as they come, until the bus is closed."""
        while True:
            await self._changed.wait()
            while self._pending:
                yield self._pending.pop(next(iter(self._pending)))
            if self._is_closed:
                return
            self._changed.clear()


class EventBus(Generic[E]):
    """Passes each event to every subscriber."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription[E]] = set()

    @property
    def has_subscribers(self) -> bool:
        return bool(self._subscriptions)

    def subscribe(self, first: Iterable[E]) -> Subscription[E]:
        """Return a new subscription that begins with the events ``first``."""
        subscription = Subscription(first)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription[E]) -> None:
        self._subscriptions.discard(subscription)

    def publish(self, event: E) -> None:
        for subscription in self._subscriptions:
            subscription.put(event)

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions:
            subscription.close()
