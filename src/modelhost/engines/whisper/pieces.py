"""Long sound in pieces, because the library makes the spectrum of all that it is given at once, at 55 MB a minute."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

from modelhost.engines.media.decoding import SAMPLE_RATE

PIECE_SECONDS: Final = 600
WINDOW_SECONDS: Final = 30
MOST_CONTEXT: Final = 223
"""Tokens of what was said before, which the library gives to the next window."""


class Piece(NamedTuple):
    """A part of the sound, and what is known from those before."""

    samples: Any
    language: str | None
    context: tuple[int, ...]
    """Tokens of the text before; empty for the first."""


class Placed(NamedTuple):
    """A segment of the library, with its place in the whole."""

    segment: Any
    number: int
    """From 0 on."""
    offset: float
    """Where its piece begins, in seconds."""


class Transcript:
    """The segments of sound that is transcribed piece by piece.

    What is written about the last window of a piece may end in the middle of a sentence: it is left out, and the next
    piece begins there. A segment with a long silence in it, which the library was told to leave out, stays.
    """

    def __init__(self, transcribe: Callable[[Piece], tuple[Generator[Any, None, None], Any]], samples: Any) -> None:
        self._transcribe, self._samples = transcribe, samples
        self._first = transcribe(Piece(self._piece(0), None, ()))
        self.language: str = self._first[1].language

    def segments(self) -> Generator[Placed, None, None]:
        """Yield the segments; closing it closes the library's."""
        begin = number = 0
        context: tuple[int, ...] = ()
        found = self._first[0]
        while True:
            size = self._piece(begin).size
            is_last = begin + size == self._samples.size
            goes_on_at, seconds = size, size / SAMPLE_RATE
            try:
                for segment in found:
                    is_in_last_window = segment.end > seconds - WINDOW_SECONDS
                    if not is_last and is_in_last_window and segment.start > seconds / 2:
                        goes_on_at = min(size, round(float(segment.start) * SAMPLE_RATE))
                        break
                    yield Placed(segment, number, begin / SAMPLE_RATE)
                    number += 1
                    context = (*context, *segment.tokens)[-MOST_CONTEXT:]
            finally:
                found.close()
            if is_last:
                return
            begin += goes_on_at
            found, _ = self._transcribe(Piece(self._piece(begin), self.language, context))

    def _piece(self, begin: int) -> Any:
        return self._samples[begin : begin + PIECE_SECONDS * SAMPLE_RATE]
