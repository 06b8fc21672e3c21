"""The requests that a worker has at work, and for how long it has been silent about them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Protocol


class OpenRequest(Protocol):
    """What is known of a request; times are by the event loop's clock."""

    waiting_since: float
    """Since when the worker could have sent something."""

    @property
    def sent_at(self) -> float:
        """When it was made."""

    @property
    def last_received_at(self) -> float:
        """When the last bytes came; ``-inf`` before the first."""

    @property
    def is_paused(self) -> bool:
        """Nothing is taken from the worker at the moment."""

    @property
    def is_closed(self) -> bool:
        """The worker is done with it, or was cut off from it."""

    @property
    def is_answered(self) -> bool:
        """The worker has answered it to the end, and has not refused it."""

    def give_up(self, seconds: float) -> None:
        """End it, since nothing has come for ``seconds``."""


class OpenRequests:
    """The requests at work; iterating gives them."""

    def __init__(self) -> None:
        self._open: set[OpenRequest] = set()
        self._silent_ones: set[OpenRequest] = set()
        """Those of them about which a worker may be silent for as long as they take."""
        self._left: dict[OpenRequest, float] = {}
        """Those that nobody waits for any more, since when, until the worker shows that it has let go of them."""
        self._heard_at = -math.inf  # from those that are not open any more
        self._last_answered_at = -math.inf  # when the latest of those was made that were answered

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenRequest]:
        return iter(tuple(self._open))

    def add(self, request: OpenRequest, *, is_silent: bool = False) -> None:
        """Count a request that begins; ``is_silent``: the worker's silence about it says nothing."""
        self._open.add(request)
        if is_silent:
            self._silent_ones.add(request)

    def remove(self, requests: Collection[OpenRequest], now: float) -> None:
        """Note when ``requests`` were heard of last: they are at work no more. Not all of them have to be."""
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
        """When the last bytes of any answer came; ``-inf`` before the first."""
        return max(self._heard_at, max((request.last_received_at for request in self._open), default=-math.inf))

    def silent_seconds(self, now: float) -> float | None:
        """Return for how long nothing has come although there is work; ``None`` while there is none.

        An answer that this side has paused, since its client reads slowly, is no work, and as long as the worker has
        something to be silent about, it may be that.
        """
        if self._silent_ones:
            return None
        waiting_since = min((each.waiting_since for each in self._open if not each.is_paused), default=None)
        return None if waiting_since is None else max(0.0, now - max(waiting_since, self.last_output_at))

    def stalled(self, now: float, *, patience_seconds: float, slots: int) -> dict[OpenRequest, float]:
        """Return the requests about which the worker has been silent for too long, and for how long.

        For a worker that tells of a prompt's progress, of which any request that has one of its ``slots`` is heard. The
        others are not waited for as long as all slots are taken: their time begins when one is free. So this has to be
        called again and again.
        """
        begun = {request for request in self._open if _has_begun(request)} | self._silent_ones
        if len(begun) >= slots:
            for request in self._open.difference(begun):
                request.waiting_since = now
        return self._silent(now, patience_seconds)

    def overtaken(self, now: float, *, patience_seconds: float) -> dict[OpenRequest, float]:
        """Return the requests about which the worker has been silent for too long, and for how long, while it has taken
        up and answered others that were made later.

        For a worker that is silent about a prompt that it works on: as long as it takes requests in turn, it is at work
        on the first one, however long that takes.
        """
        silent = self._silent(now, patience_seconds)
        return {each: seconds for each, seconds in silent.items() if now - seconds < self._last_answered_at}

    def _silent(self, now: float, patience_seconds: float) -> dict[OpenRequest, float]:
        heard = [each for each in self._open - self._silent_ones if not each.is_paused]
        silent = {each: now - max(each.waiting_since, each.last_received_at) for each in heard}
        return {request: seconds for request, seconds in silent.items() if seconds >= patience_seconds}

    def abandoned_seconds(self, now: float) -> float:
        """Return for how long the worker has kept at a request that nobody waits for any more; 0 if it does not."""
        self._left = {request: since for request, since in self._left.items() if not request.is_closed}
        return now - min(self._left.values(), default=now)


def _has_begun(request: OpenRequest) -> bool:
    return request.last_received_at > -math.inf
