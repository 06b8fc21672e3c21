"""Long sound is transcribed in pieces, and its text is that of the whole."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhost.engines.media.decoding import SAMPLE_RATE
from modelhost.engines.whisper.pieces import PIECE_SECONDS, Piece, Transcript

SENTENCE_SECONDS = 7


class Segment(NamedTuple):
    start: float
    end: float
    tokens: tuple[int, ...]


class Info(NamedTuple):
    language: str


class Library:
    """Writes a segment for each sentence of sound whose samples count the sentences, as far as its piece holds it."""

    def __init__(self, silent_from: int = 1_000) -> None:
        self.pieces: list[Piece] = []
        self.closed = 0
        self._silent_from = silent_from

    def __call__(self, piece: Piece) -> tuple[Generator[Any, None, None], Info]:
        self.pieces.append(piece)
        return self._segments(piece.samples), Info("en")

    def _segments(self, samples: Any) -> Generator[Segment, None, None]:
        try:
            for number in np.unique(samples):
                (places,) = np.nonzero(samples == number)
                if number < self._silent_from:
                    yield Segment(places[0] / SAMPLE_RATE, (places[-1] + 1) / SAMPLE_RATE, (int(number),))
        finally:
            self.closed += 1


def sentences(count: int) -> Any:
    return np.repeat(np.arange(count, dtype=np.int16), SENTENCE_SECONDS * SAMPLE_RATE)


@pytest.mark.parametrize("count", [1, 60, 86, 90, 200, 300])
def test_each_sentence_is_written_once_at_its_time(count: int) -> None:
    library = Library()
    transcript = Transcript(library, sentences(count))
    found = list(transcript.segments())
    assert [placed.segment.tokens for placed in found] == [(number,) for number in range(count)]
    assert [placed.number for placed in found] == list(range(count))
    for number, placed in enumerate(found):
        times = placed.offset + placed.segment.start, placed.offset + placed.segment.end
        assert times == pytest.approx((number * SENTENCE_SECONDS, (number + 1) * SENTENCE_SECONDS), abs=0.001)
    assert library.closed == len(library.pieces)


def test_places_are_numbers_that_json_has_whatever_the_library_counts_with() -> None:
    found = list(Transcript(Library(), sentences(200)).segments())
    assert {type(placed.segment.start) for placed in found} == {np.float64}
    assert {type(placed.offset) for placed in found} == {float}


def test_a_piece_is_short_and_knows_what_was_said_before() -> None:
    library = Library()
    transcript = Transcript(library, sentences(200))
    list(transcript.segments())
    assert len(library.pieces) == 3
    assert max(piece.samples.size for piece in library.pieces) == PIECE_SECONDS * SAMPLE_RATE
    assert [piece.language for piece in library.pieces] == [None, "en", "en"]
    first, second, _ = library.pieces
    assert first.context == ()
    assert second.context == tuple(range(int(second.samples[0])))


@given(st.integers(1, 1_900 * SAMPLE_RATE), st.floats(0.01, 0.99))
@settings(max_examples=200, deadline=None)
def test_pieces_come_to_an_end_wherever_segments_begin(size: int, share: float) -> None:
    """Segments of a library begin at fractions that are no whole samples."""
    pieces: list[int] = []

    def segments(piece: Piece) -> Generator[Any, None, None]:
        seconds = piece.samples.size / SAMPLE_RATE
        yield Segment(0.0, seconds * share, (1,))
        yield Segment(seconds * share, seconds, (2,))

    def transcribe(piece: Piece) -> tuple[Generator[Any, None, None], Info]:
        pieces.append(piece.samples.size)
        assert len(pieces) <= 2 + 2 * size // (PIECE_SECONDS * SAMPLE_RATE)
        return segments(piece), Info("en")

    list(Transcript(transcribe, np.zeros(size, np.int16)).segments())
    assert min(pieces) > 0


def test_silence_at_the_end_of_a_piece_is_passed_over() -> None:
    library = Library(silent_from=40)
    assert len(list(Transcript(library, sentences(200)).segments())) == 40
    assert len(library.pieces) == 3


def test_a_segment_across_a_long_silence_ends_its_piece() -> None:
    sound = np.repeat(np.arange(3, dtype=np.int16), [SAMPLE_RATE, (PIECE_SECONDS + 90) * SAMPLE_RATE, SAMPLE_RATE])
    library = Library()
    assert len(list(Transcript(library, sound).segments())) == 4
    assert len(library.pieces) == 2


def test_a_client_that_leaves_ends_the_work_of_the_library() -> None:
    library = Library()
    segments = Transcript(library, sentences(200)).segments()
    next(segments)
    segments.close()
    assert (library.closed, len(library.pieces)) == (1, 1)
