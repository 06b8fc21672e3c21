"""Clients that do not read what they are sent."""

from __future__ import annotations

import asyncio


class SlowReader:
    """How long the client of one connection has read nothing of what waits for it."""

    def __init__(self) -> None:
        self.unsent_bytes: int | None = None
        """``None``: nothing waits."""
        self._since = 0.0

    def has_read(self) -> None:
        """Note that the client has read."""
        self.unsent_bytes = None

    def seconds(self, transport: asyncio.Transport, now: float, *, is_paused: bool) -> float:
        """Return for how long; ``is_paused`` is whether the transport takes no more, or is closing."""
        if not is_paused:
            self.unsent_bytes = None
            return 0.0
        unsent = transport.get_write_buffer_size()
        if self.unsent_bytes is None or unsent < self.unsent_bytes:
            self.unsent_bytes, self._since = unsent, now
        return now - self._since
