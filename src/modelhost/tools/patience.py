"""How long requests wait for a server that is being connected for the first time, and what they are told of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

LONGEST_WAIT_SECONDS: Final = 15.0
"""Of all requests together: clients give up not much later, and an answer without a tool is better than none."""


class Patience:
    """For one first attempt to connect: requests wait from the first of them on, and later ones never again."""

    def __init__(self, attempt_seconds: float) -> None:
        """The attempt begins now and takes ``attempt_seconds`` at most."""
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + attempt_seconds
        self._has_begun = False

    def ends_at(self) -> float:
        """Until when a request waits, on the clock of the loop; the first one that asks begins the time of all."""
        if not self._has_begun:
            self._has_begun = True
            self._ends_at = min(self._ends_at, self._loop.time() + LONGEST_WAIT_SECONDS)
        return self._ends_at

    def seconds_left(self) -> float:
        """The same as a time from now; 0 when it is over."""
        return max(0.0, self.ends_at() - self._loop.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """The servers that a request waits for."""

    servers: tuple[str, ...]
    seconds: float
    """At most."""
