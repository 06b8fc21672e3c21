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
        at, number = 0.0, 0
        context: tuple[int, ...] = ()
        found = self._first[0]
        while True:
            piece_seconds = self._piece(at).size / SAMPLE_RATE
            is_last = at + piece_seconds >= self._samples.size / SAMPLE_RATE
            goes_on_at = piece_seconds
            try:
                for segment in found:
                    is_in_last_window = segment.end > piece_seconds - WINDOW_SECONDS
                    if not is_last and is_in_last_window and segment.start > piece_seconds / 2:
                        goes_on_at = float(segment.start)  # of words, the library has numbers of NumPy
                        break
                    yield Placed(segment, number, at)
                    number += 1
                    context = (*context, *segment.tokens)[-MOST_CONTEXT:]
            finally:
                found.close()
            if is_last:
                return
            at += goes_on_at
            found, _ = self._transcribe(Piece(self._piece(at), self.language, context))

    def _piece(self, at: float) -> Any:
        begin = round(at * SAMPLE_RATE)
        return self._samples[begin : begin + PIECE_SECONDS * SAMPLE_RATE]
