"""When a loaded model makes room for one that waits: not at every request, and not never.

Two models that do not fit together are served in bursts: the loaded one goes on to begin requests, the waiting ones
first, until it has begun so many or has had so much time since the other one began to wait; then it finishes what it
has begun, and they swap.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """The bound of a burst: at most ``requests`` are begun, within ``seconds``."""

    requests: int = 32
    seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """The burst of a model since ``since``, the moment when another one began to wait for its memory."""

    since: float
    begun: int = 0


def may_begin(burst: Burst | None, bursts: Bursts, now: float) -> bool:
    """Whether the model may begin one more request."""
    return burst is None or (burst.begun < bursts.requests and now - burst.since < bursts.seconds)
