"""What a client may send, and for how long it may keep the host waiting, before any key is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelhost.config.settings import Settings
from modelhost.errors import HeadersTooLarge

MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 16_000
MAX_HEAD_BYTES: Final = 64_000
"""Of the address and all headers."""
MAX_PENDING_BYTES: Final = MAX_HEAD_BYTES + 8 * MAX_HEADERS
"""Of what has come and is no body: the parser keeps a header until it ends. With what stands between headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many clients may connect, and how long each may keep the host waiting."""

    max_connections: int
    header_seconds: float
    body_seconds: float
    slow_reader_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return those of a host."""
        return cls(
            max_connections=settings.max_connections,
            header_seconds=settings.header_timeout,
            body_seconds=settings.body_timeout,
            slow_reader_seconds=settings.slow_reader_timeout,
        )


def too_large() -> HeadersTooLarge:
    """Return the error for a head that is over the limits."""
    return HeadersTooLarge(
        f"The headers are too large: there may be {MAX_HEADERS}, of {MAX_HEADER_BYTES} bytes each and "
        f"{MAX_HEAD_BYTES} bytes together."
    )
