"""How long to wait before a worker that died is started again."""

from __future__ import annotations

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 30.0
HEALTHY_SECONDS = 30.0  # a worker that lived this long died of something new


class Backoff:
    """Doubling pauses that begin anew after a healthy life. No clock inside: the caller says what it saw."""

    def __init__(self) -> None:
        self.next_seconds = FIRST_SECONDS

    def survived(self, seconds: float) -> None:
        """Note how long the worker lived before it died."""
        if seconds >= HEALTHY_SECONDS:
            self.next_seconds = FIRST_SECONDS

    def pause(self) -> float:
        """Return the seconds to wait now; the next time it is twice as long."""
        seconds = self.next_seconds
        self.next_seconds = min(seconds * 2, LONGEST_SECONDS)
        return seconds
