"""The open requests of a worker, and for how long it has been silent about them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Protocol


class OpenRequest(Protocol):
    """One request; times are by the event loop's clock."""

    waiting_since: float
    """Since when the worker could have sent something."""

    @property
    def sent_at(self) -> float:
        """When it was sent."""

    @property
    def last_received_at(self) -> float:
        """When the last bytes arrived; ``-inf`` before the first."""

    @property
    def is_paused(self) -> bool:
        """Whether reading from the worker is paused."""

    @property
    def is_closed(self) -> bool:
        """Whether both sides of its connection are closed."""

    @property
    def is_answered(self) -> bool:
        """Whether the worker has answered it completely, and not with an error."""

    def give_up(self, seconds: float) -> None:
        """End it, since nothing has arrived for ``seconds``."""


class OpenRequests:
    """The open requests of one worker; iterable."""

    def __init__(self) -> None:
        self._open: set[OpenRequest] = set()
        self._silent_ones: set[OpenRequest] = set()
        """Those about which a worker may be silent until the end."""
        self._left: dict[OpenRequest, float] = {}
        """Abandoned requests, and since when, until the worker closes its side of the connection."""
        self._heard_at = -math.inf  # of those that are not open any more
        self._last_answered_at = -math.inf  # when the latest answered request was sent

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenRequest]:
        return iter(tuple(self._open))

    def add(self, request: OpenRequest, *, is_silent: bool = False) -> None:
        """Add a request; ``is_silent``: the worker may be silent about it."""
        self._open.add(request)
        if is_silent:
            self._silent_ones.add(request)

    def remove(self, requests: Collection[OpenRequest], now: float) -> None:
        """Remove ``requests``, of which some may not be open, and note when they last received something."""
        for request in requests:
            if request in self._open and not _has_begun(request):
                self._left[request] = now
        self._open.difference_update(requests)
        self._silent_ones.difference_update(requests)
        answered = (request.sent_at for request in requests if request.is_answered)
        self._last_answered_at = max(self._last_answered_at, *answered, -math.inf)
        self._heard_at = max(self._heard_at, *(request.last_received_at for request in requests), -math.inf)

    @property
    def last_output_at(self) -> float:
        """When the last bytes of any answer arrived; ``-inf`` before the first."""
        return max(self._heard_at, max((request.last_received_at for request in self._open), default=-math.inf))

    def silent_seconds(self, now: float) -> float | None:
        """Return for how long nothing has arrived although there is work; ``None`` without work.

        An answer that is paused, since its client reads slowly, is no work; and nothing is expected as long as there is
        a request about which the worker may be silent.
        """
        if self._silent_ones:
            return None
        waiting_since = min((each.waiting_since for each in self._open if not each.is_paused), default=None)
        return None if waiting_since is None else max(0.0, now - max(waiting_since, self.last_output_at))

    def stalled(self, now: float, *, patience_seconds: float, slots: int) -> dict[OpenRequest, float]:
        """Return the requests about which the worker has been silent for too long, and for how long.

        For a worker that reports the progress of prompts, so that something arrives for each request that has one of
        its ``slots``. The time of the others begins when a slot is free, so this has to be called repeatedly.
        """
        begun = {request for request in self._open if _has_begun(request)} | self._silent_ones
        if len(begun) >= slots:
            for request in self._open.difference(begun):
                request.waiting_since = now
        return self._silent(now, patience_seconds)

    def overtaken(self, now: float, *, patience_seconds: float) -> dict[OpenRequest, float]:
        """Return the requests about which the worker has been silent for too long, and for how long, while it answered
        others that were sent later.

        For a worker that is silent while it processes a prompt: as long as it handles requests in order, it may be
        processing the first one, however long that takes.
        """
        silent = self._silent(now, patience_seconds)
        return {each: seconds for each, seconds in silent.items() if now - seconds < self._last_answered_at}

    def _silent(self, now: float, patience_seconds: float) -> dict[OpenRequest, float]:
        heard = [each for each in self._open - self._silent_ones if not each.is_paused]
        silent = {each: now - max(each.waiting_since, each.last_received_at) for each in heard}
        return {request: seconds for request, seconds in silent.items() if seconds >= patience_seconds}

    def abandoned_seconds(self, now: float) -> float:
        """Return for how long the worker has been processing an abandoned request; 0 if it is not."""
        self._left = {request: since for request, since in self._left.items() if not request.is_closed}
        return now - min(self._left.values(), default=now)


def _has_begun(request: OpenRequest) -> bool:
    return request.last_received_at > -math.inf
