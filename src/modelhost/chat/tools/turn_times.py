"""How long the model computed in the turns of one answer, without what its tools took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from modelhost.exchange.events import EvalTimes, Piece, Reasoning, Refusal, Text, ToolCallPiece, Usage

WRITTEN: Final = (Text, Reasoning, Refusal, ToolCallPiece)
TIMINGS: Final = "timings"
"""llama.cpp's field beside the usage; its numbers are milliseconds."""
MS: Final = 1_000


def reported_times(usage: Usage) -> EvalTimes | None:
    """Return the times that the engine reports beside ``usage``; ``None`` if it does not."""
    timings = usage.extra.chunk.get(TIMINGS) if usage.extra is not None else None
    if timings is None or not isinstance(timings, Mapping):
        return None
    found = [timings.get(name) for name in ("prompt_ms", "predicted_ms")]
    prompt, answer = (float(value) / MS if isinstance(value, int | float) else 0.0 for value in found)
    return EvalTimes(prompt_seconds=prompt, answer_seconds=answer)


class TurnTimes:
    """Adds up the times of turns: those of the engine, where it reports them, and otherwise what the host measures."""

    def __init__(self) -> None:
        self.total = EvalTimes()
        self._began = 0.0
        self._written_at: float | None = None
        self._reported: EvalTimes | None = None

    def begin(self) -> None:
        """Note that a turn begins."""
        self._began = time.perf_counter()
        self._written_at = self._reported = None

    def note(self, piece: Piece) -> None:
        """Note a piece of the turn."""
        if self._written_at is None:
            for event in piece:
                if isinstance(event, WRITTEN):
                    self._written_at = time.perf_counter()
                    break
        last = piece[-1]
        if isinstance(last, Usage):
            self._reported = reported_times(last)

    def end(self) -> None:
        """Add the turn, which is over."""
        now = time.perf_counter()
        written_at = now if self._written_at is None else self._written_at
        measured = EvalTimes(prompt_seconds=written_at - self._began, answer_seconds=now - written_at)
        of_turn = self._reported or measured
        self.total = EvalTimes(
            prompt_seconds=self.total.prompt_seconds + of_turn.prompt_seconds,
            answer_seconds=self.total.answer_seconds + of_turn.answer_seconds,
        )
