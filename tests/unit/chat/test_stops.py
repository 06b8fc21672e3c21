"""Stop sequences that the host finds itself: the text before the first one, however the engine cuts the text up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.relay import Report
from modelhost.chat.stops import STOP_SEQUENCE, stopped_at
from modelhost.exchange.events import (
    Begin,
    Event,
    Finish,
    FinishDetails,
    PartialUsage,
    Piece,
    PieceStream,
    Reasoning,
    Text,
    ToolCallPiece,
    Usage,
)

USAGE = {"prompt_tokens": 3, "completion_tokens": 9}
END = (Finish(reason="stop"),)


class Source:
    """Pieces of an engine, and whether they were closed."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = list(pieces)
        self.sent = 0
        self.is_closed = False

    async def stream(self) -> PieceStream:
        try:
            for piece in self._pieces:
                self.sent += 1
                yield piece
        finally:
            self.is_closed = True


async def stopped(
    pieces: Iterable[Piece], *stops: str, report: Report | None = None, keeps_usage: bool = False
) -> list[Piece]:
    stream = stopped_at(stops, Source(pieces).stream(), report or Report(), keeps_usage=keeps_usage)
    return [piece async for piece in stream]


def texts(*given: str) -> list[Piece]:
    return [(Text(text=text),) for text in given]


def text_of(pieces: Iterable[Piece]) -> str:
    return "".join(event.text for piece in pieces for event in piece if isinstance(event, Text))


def finishes_of(pieces: Iterable[Piece]) -> list[Finish]:
    return [event for piece in pieces for event in piece if isinstance(event, Finish)]


def named(sequence: str) -> Finish:
    return Finish(reason="stop", details=FinishDetails(kind=STOP_SEQUENCE, message=sequence))


def expected(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """Return the text before the stop sequence that is complete first, and the longest one that is."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            stop = max(complete, key=len)
            return text[: end - len(stop)], stop
    return text, None


SHORT = st.text("ab", min_size=1, max_size=4)


@given(st.lists(st.text("ab", max_size=5), max_size=8), st.lists(SHORT, min_size=1, max_size=3))
async def test_however_a_text_is_cut_up_it_ends_before_the_first_stop(parts: list[str], stops: list[str]) -> None:
    found = await stopped([*texts(*parts), END], *stops)
    before, stop = expected("".join(parts), stops)
    assert text_of(found) == before
    assert finishes_of(found) == [Finish(reason="stop") if stop is None else named(stop)]


@pytest.mark.parametrize("parts", [["aaba"], ["aab", "a"], ["a", "a", "b", "a"]], ids=len)
async def test_of_sequences_that_overlap_the_one_that_is_complete_first_counts(parts: list[str]) -> None:
    found = await stopped([*texts(*parts), END], "aaba", "ab", "abab")
    assert (text_of(found), finishes_of(found)) == ("a", [named("ab")])


async def test_what_may_be_the_beginning_of_a_stop_waits_for_the_next_piece() -> None:
    assert await stopped(texts("one E", "N", "d two"), "END") == texts("one ", "ENd two")


async def test_what_was_held_back_comes_before_the_end() -> None:
    found = await stopped([*texts("one EN"), (Finish(reason="length"),)], "END")
    assert text_of(found) == "one EN"
    assert found[-1] == (Text(text="EN"), Finish(reason="length"))


async def test_what_was_held_back_comes_before_a_call() -> None:
    call = ToolCallPiece(index=0, id="1", name="look", arguments="END")
    found = await stopped([*texts("EN"), (call,), END], "END")
    assert found == [(Text(text="EN"), call), END]


async def test_a_text_that_ends_without_a_finish_loses_nothing() -> None:
    assert text_of(await stopped(texts("one EN"), "END")) == "one EN"


async def test_a_piece_without_text_does_not_hide_a_stop() -> None:
    found = await stopped([*texts("one E"), (Begin(role=None),), *texts("ND two"), END], "END")
    assert (text_of(found), finishes_of(found)) == ("one ", [named("END")])


async def test_only_the_text_is_searched() -> None:
    thought = (Reasoning(text="END"),)
    assert await stopped([(Begin(),), thought, *texts("yes"), END], "END") == [
        (Begin(),),
        thought,
        *texts("yes"),
        END,
    ]


async def test_what_follows_a_stop_is_neither_sent_nor_generated() -> None:
    source = Source([*texts("one END two", "three"), END])
    found = [piece async for piece in stopped_at(["END"], source.stream(), Report(), keeps_usage=False)]
    assert found == [(Text(text="one "), named("END"))]
    assert (source.sent, source.is_closed) == (1, True)


async def test_a_stop_at_the_beginning_leaves_no_text() -> None:
    assert await stopped(texts("END"), "END") == [(named("END"),)]


@pytest.mark.parametrize("is_first", [True, False], ids=["before the text", "after it"])
async def test_an_answer_that_is_stopped_has_the_usage_so_far(is_first: bool) -> None:
    def counted(text: str, count: int) -> Piece:
        usage: dict[str, Any] = {"prompt_tokens": 3, "completion_tokens": count}
        events: tuple[Event, ...] = (PartialUsage(usage=usage), Text(text=text))
        return events if is_first else events[::-1]

    report = Report()
    found = await stopped([counted("one ", 1), counted("END", 2), counted("two", 3)], "END", report=report)
    assert report.usage == {"prompt_tokens": 3, "completion_tokens": 2}
    assert found == [(Text(text="one "),), (named("END"),)]


async def test_the_usage_so_far_stays_in_the_pieces_for_who_wants_it() -> None:
    pieces: list[Piece] = [(Text(text="one"), PartialUsage(usage=USAGE)), END, (Usage(usage=USAGE),)]
    assert await stopped(pieces, "END", keeps_usage=True) == pieces
    assert await stopped(pieces, "END") == [(Text(text="one"),), END, (Usage(usage=USAGE),)]
