"""Which sessions of clients are open, and which of them may go when there is no room for another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class OpenSessions:
    """Kept by whoever passes the requests on. One that has ended by itself may stand here until it would go."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: dict[str, None] = {}
        """In the order in which they were used last."""
        self._at_work: Counter[str] = Counter()
        self._opening = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no room for those that are being opened."""
        return len(self._ids) + self._opening > self._limit

    @property
    def oldest_idle(self) -> str | None:
        """The one that has been without a request, or a stream, for the longest time; ``None`` if all have one."""
        return next((each for each in self._ids if not self._at_work[each]), None)

    @contextmanager
    def opening(self) -> Iterator[Callable[[str], None]]:
        """Room is taken for another within the context; what it gives is to be told the id, once it is open."""
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
        """Forget one that has ended."""
        self._ids.pop(session, None)

    @contextmanager
    def used(self, session: str | None) -> Iterator[None]:
        """A request of the session, or a stream for it, is at work within the context."""
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
