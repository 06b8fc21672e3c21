"""The requests that a worker has at work, and for how long it has been silent about them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Protocol


class OpenRequest(Protocol):
    """What is known of a request; times are by the event loop's clock."""

    @property
    def waits_since(self) -> float:
        """Since when the worker could have sent something."""

    @property
    def heard_at(self) -> float:
        """When the last bytes came; ``-inf`` before the first."""

    @property
    def is_paused(self) -> bool:
        """Nothing is taken from the worker at the moment."""


class OpenRequests:
    """The requests at work; iterating gives them."""

    def __init__(self) -> None:
        self._open: set[OpenRequest] = set()
        self._heard_at = -math.inf  # from those that are not open any more

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenRequest]:
        return iter(tuple(self._open))

    def add(self, request: OpenRequest) -> None:
        """Count a request that begins."""
        self._open.add(request)

    def remove(self, requests: Collection[OpenRequest]) -> None:
        """Note when ``requests`` were heard of last: they are at work no more. Not all of them have to be."""
        self._open.difference_update(requests)
        self._heard_at = max(self._heard_at, *(request.heard_at for request in requests), -math.inf)

    @property
    def last_output_at(self) -> float:
        """When the last bytes of any answer came; ``-inf`` before the first."""
        return max(self._heard_at, max((request.heard_at for request in self._open), default=-math.inf))

    def silent_seconds(self, now: float) -> float | None:
        """Return for how long nothing has come although there is work; ``None`` while there is none.

        An answer that this side has paused, since its client reads slowly, is no work.
        """
        waits_since = min((each.waits_since for each in self._open if not each.is_paused), default=None)
        return None if waits_since is None else max(0.0, now - max(waits_since, self.last_output_at))
