"""Tracks the open sessions of clients, and which of them to close when there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class OpenSessions:
    """The open sessions, most recently used last. Ended sessions may stay until they are removed or closed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: dict[str, None] = {}
        """In the order of their last use."""
        self._at_work: Counter[str] = Counter()
        self._opening = 0

    @property
    def is_full(self) -> bool:
        """Whether there are more sessions than allowed, including those being opened."""
        return len(self._ids) + self._opening > self._limit

    @property
    def oldest_idle(self) -> str | None:
        """The session that has been idle for longest; ``None`` if all have a request or a stream."""
        return next((each for each in self._ids if not self._at_work[each]), None)

    @contextmanager
    def reserve(self) -> Iterator[Callable[[str], None]]:
        """Reserve a place for a new session; call the yielded function with its id once it is open."""
        self._opening += 1
        is_open = False

        def add(session: str) -> None:
            nonlocal is_open
            if not is_open:
                is_open = True
                self._opening -= 1
                self._ids[session] = None

        try:
            yield add
        finally:
            if not is_open:
                self._opening -= 1

    def remove(self, session: str) -> None:
        """Remove an ended session."""
        self._ids.pop(session, None)

    @contextmanager
    def in_use(self, session: str | None) -> Iterator[None]:
        """Mark the session as in use by a request or a stream."""
        if session is None or session not in self._ids:
            yield
            return
        self._at_work[session] += 1
        try:
            yield
        finally:
            self._at_work[session] -= 1
            if not self._at_work[session]:
                del self._at_work[session]
            if session in self._ids:
                self._ids[session] = self._ids.pop(session)
