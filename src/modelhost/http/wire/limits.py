"""Limits on what clients send and how long they take, before API keys are checked."""

from __future__ import annotations

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
        """Return the limits in ``settings``."""
        return cls(
            max_connections=settings.max_connections,
            header_seconds=settings.header_timeout,
            body_seconds=settings.body_timeout,
            slow_reader_seconds=settings.slow_reader_timeout,
        )


def too_large() -> HeadersTooLarge:
    """Return the error for headers that exceed the limits."""
    return HeadersTooLarge(
        f"The headers are too large: there may be {MAX_HEADERS}, of {MAX_HEADER_BYTES} bytes each and "
        f"{MAX_HEAD_BYTES} bytes together."
    )
