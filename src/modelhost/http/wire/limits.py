"""Limits on what clients send and how long they take, before API keys are checked, and on how slowly they read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from modelhost.config.settings import Settings
from modelhost.errors import HeadersTooLarge

MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 16_000
MAX_HEAD_BYTES: Final = 64_000
"""Limit of the request line and all headers."""
MAX_PENDING_BYTES: Final = MAX_HEAD_BYTES + 8 * MAX_HEADERS
"""Limit of unparsed data outside of bodies: the parser buffers incomplete headers, with separators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of connections."""

    max_connections: int
    header_seconds: float
    body_seconds: float
    slow_reader_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            max_connections=settings.max_connections,
            header_seconds=settings.header_timeout,
            body_seconds=settings.body_timeout,
            slow_reader_seconds=settings.slow_reader_timeout,
        )


def too_large() -> HeadersTooLarge:
    return HeadersTooLarge(
        f"The headers are too large: there may be {MAX_HEADERS}, of {MAX_HEADER_BYTES} bytes each and "
        f"{MAX_HEAD_BYTES} bytes together."
    )


class SlowReader:
    """How long the client of one connection has read nothing of what waits for it."""

    def __init__(self) -> None:
        self.unsent_bytes: int | None = None
        """``None``: nothing waits."""
        self._since = 0.0

    def has_read(self) -> None:
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
