"""How fast a model has answered recently: a few sums for each half minute, at a constant cost per request."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 300.0
STEP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What a model did lately; ``None`` if there was nothing to measure."""

    tokens_per_second: float | None = None
    """Over all its answers together, in the time in which it had any at work."""
    latency_seconds: float | None = None
    """From the beginning of an answer to its first piece, on average."""


@dataclass(slots=True)
class _Step:
    began: float
    tokens: int = 0
    seconds: float = 0.0
    latency_seconds: float = 0.0
    answers: int = 0


class ThroughputMeter:
    """Measures one model from the beginnings and ends of its answers. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque()
        self._at_work = 0
        self._counted_until = 0.0
        """Up to when the time of the answers at work has been counted."""

    def begin(self, now: float) -> None:
        """Note that an answer begins: the model is loaded, and nobody is before it."""
        if not self._at_work:
            self._counted_until = now
        self._at_work += 1

    def end(self, now: float, *, tokens: int | None, latency_seconds: float | None) -> None:
        """Note that an answer has ended.

        ``tokens`` of ``None``: nobody knows how many there were, as it was cut off. Its time is not counted then, but
        as far as other answers share it.
        """
        self._at_work -= 1
        if tokens is None:
            return
        step = self._step(now)
        step.tokens += tokens
        step.seconds += now - self._counted_until
        self._counted_until = now
        if latency_seconds is not None:
            step.latency_seconds += latency_seconds
            step.answers += 1

    def measured(self, now: float) -> Throughput:
        """Return what the answers of the last ``WINDOW_SECONDS`` came to."""
        self._forget(now)
        tokens, answers, seconds, latency_seconds = 0, 0, 0.0, 0.0
        for step in self._steps:
            tokens += step.tokens
            answers += step.answers
            seconds += step.seconds
            latency_seconds += step.latency_seconds
        return Throughput(
            tokens_per_second=tokens / seconds if tokens and seconds else None,
            latency_seconds=latency_seconds / answers if answers else None,
        )

    def _step(self, now: float) -> _Step:
        self._forget(now)
        if not self._steps or now - self._steps[-1].began >= STEP_SECONDS:
            self._steps.append(_Step(now))
        return self._steps[-1]

    def _forget(self, now: float) -> None:
        while self._steps and now - self._steps[0].began > WINDOW_SECONDS:
            self._steps.popleft()
