"""Stop sequences that the host finds itself, for clients that want to know which one ended the answer.

Engines stop at them too, but most do not say at which. Only the text of an answer is searched, neither its reasoning
nor its calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Final

from msgspec.structs import replace

from modelhost.chat.relay import Report
from modelhost.exchange.events import (
    NO_ENVELOPE,
    Begin,
    Event,
    Finish,
    FinishDetails,
    Logprobs,
    PartialUsage,
    Piece,
    PieceStream,
    Text,
)

STOP_SEQUENCE: Final = "stop_sequence"
"""The kind of the finish details; the message is the sequence."""
WITHIN_TEXT: Final = (Begin, Logprobs)
"""Events that may come between two pieces of a text, which do not end what was held back."""


async def stopped_at(stops: Sequence[str], pieces: PieceStream, report: Report, *, keeps_usage: bool) -> PieceStream:
    """Yield ``pieces`` up to the first of ``stops``, then a finish that names it; the generation is cancelled.

    Text that may be the beginning of a stop sequence is held back. The pieces have the usage so far, which is the usage
    of an answer that was stopped; ``keeps_usage`` leaves it in them.
    """
    answer = _Answer(stops, report, keeps_usage=keeps_usage)
    async with aclosing(pieces):
        async for piece in pieces:
            if events := tuple(answer.add(piece)):
                yield events
            if answer.is_stopped:
                return
    if rest := tuple(answer.take_rest()):
        yield rest


class _Answer:
    """An answer up to its stop sequence."""

    def __init__(self, stops: Sequence[str], report: Report, *, keeps_usage: bool) -> None:
        self._search = _Search(stops)
        self._report = report
        self._keeps_usage = keeps_usage
        self._envelope = NO_ENVELOPE

    @property
    def is_stopped(self) -> bool:
        return self._search.found is not None

    def add(self, piece: Piece) -> Iterator[Event]:
        """Yield the events of ``piece`` that precede all stop sequences, and the finish at one."""
        for event in piece:
            if isinstance(event, PartialUsage):
                self._report.usage = dict(event.usage)
                if self._keeps_usage:
                    yield event
            elif self.is_stopped:
                continue
            elif isinstance(event, Text):
                yield from self._text(event)
            else:
                if not isinstance(event, WITHIN_TEXT):
                    yield from self.take_rest()
                yield event

    def take_rest(self) -> Iterator[Text]:
        """Yield the text that was held back, if there is some."""
        if rest := self._search.take_rest():
            yield Text(envelope=self._envelope, text=rest)

    def _text(self, event: Text) -> Iterator[Event]:
        self._envelope = event.envelope
        if text := self._search.add(event.text):
            yield replace(event, text=text)
        if self._search.found is not None:
            details = FinishDetails(kind=STOP_SEQUENCE, message=self._search.found)
            yield Finish(envelope=event.envelope, choice=event.choice, reason="stop", details=details)


class _Search:
    """Finds the first stop sequence in a text that comes in pieces.

    The first is the one that is complete first, of several the longest: that does not depend on the pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops)) - 1
        self._rest = ""
        self.found: str | None = None

    def add(self, text: str) -> str:
        """Return what of the text so far is certain to precede all stop sequences."""
        text = self._rest + text
        places = [(place + len(stop), place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            _, place, self.found = min(places)
            self._rest = ""
            return text[:place]
        held = self._held(text)
        self._rest = text[len(text) - held :]
        return text[: len(text) - held]

    def take_rest(self) -> str:
        """Return the text that was held back, which no stop sequence begins with after all."""
        rest, self._rest = self._rest, ""
        return rest

    def _held(self, text: str) -> int:
        """Return the length of the longest end of ``text`` that a stop sequence begins with."""
        for length in range(min(len(text), self._longest), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
