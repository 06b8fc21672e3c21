"""What requests do, noted as they do it and counted later, many at once.

A note takes about a microsecond of the request. To count a batch of them takes a third of what counting each by itself
would, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, NamedTuple

from modelhost.monitor.cells import ERROR, HOST, Cell
from modelhost.monitor.measure import RequestMeasure

MOST_NOTES: Final = 128
"""Noted until they are counted: about thirty requests, which takes less than a millisecond."""
SUMS: Final[Mapping[str, Callable[[RequestMeasure], float]]] = {
    "turns": attrgetter("turns"),
    "tokens_in": attrgetter("tokens_in"),
    "tokens_cached": attrgetter("tokens_cached"),
    "drafted": attrgetter("drafted"),
    "accepted": attrgetter("accepted"),
    "tool_calls": attrgetter("tool_calls"),
    "tool_seconds": attrgetter("tool_seconds"),
}
"""What is added up over requests, by the name of its counter."""


class EndedRequest(NamedTuple):
    """A request that has ended, after ``seconds``; with the error ``code`` if it failed."""

    measure: RequestMeasure
    seconds: float
    code: str | None
    is_cancelled: bool


@dataclass(slots=True)
class _Work:
    """The turns at work on a model, or on the whole host; times are of :func:`time.perf_counter`."""

    at_once: int = 0
    counted_until: float = 0.0


@dataclass(slots=True)
class _Batch:
    """What one model did within one interval."""

    ended: list[EndedRequest] = field(default_factory=list)
    tokens: int = 0
    work_seconds: float = 0.0
    busy_seconds: float = 0.0


_Note = tuple[float, str, EndedRequest | None, float, int, int]
"""When it was noted, the model, and either a request that has ended; or since when there are more or less turns at
work, and how many; or generated tokens."""


class Journal:
    """Notes of what requests do."""

    def __init__(self, clock: Callable[[], float], step: int, cell: Callable[[int, str], Cell]) -> None:
        """``cell`` returns the cell of a model in the interval of ``step`` seconds that begins at a time of ``clock``.

        It may be called for times that are no beginnings of an interval, too: these are rounded down.
        """
        self._clock = clock
        self._step = step
        self._cell = cell
        self._notes: list[_Note] = []
        self._work: dict[str, _Work] = {}
        self._batches: dict[str, _Batch] = {}
        self._generated_tokens = 0
        self._noted_at: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be counted."""
        return not self._notes

    @property
    def generated_tokens(self) -> int:
        """Of all models, since the beginning."""
        self.count()
        return self._generated_tokens

    @property
    def noted_at(self) -> float | None:
        """When something was noted last; ``None``: never."""
        return self._notes[-1][0] if self._notes else self._noted_at

    # Notes.

    def request(self, model: str, ended: EndedRequest) -> None:
        """Note a request that has ended."""
        self._add((self._clock(), model, ended, 0.0, 0, 0))

    def turns(self, model: str, now: float, change: int) -> None:
        """Note that from ``now`` on, of :func:`time.perf_counter`, so many more turns are at work, or fewer."""
        self._add((self._clock(), model, None, now, change, 0))

    def tokens(self, model: str, tokens: int) -> None:
        """Note generated tokens."""
        self._add((self._clock(), model, None, 0.0, 0, tokens))

    def running(self, now: float) -> None:
        """Note that the turns at work are still so."""
        self.count()
        for model in [model for model, work in self._work.items() if work.at_once and model != HOST]:
            self.turns(model, now, 0)

    def _add(self, note: _Note) -> None:
        self._notes.append(note)
        if len(self._notes) >= MOST_NOTES:
            self.count()

    # Counting.

    def count(self) -> None:
        """Count everything that is noted."""
        if not self._notes:
            return
        notes, self._notes = self._notes, []
        self._noted_at = notes[-1][0]
        step, start = self._step, 0
        for at, model, ended, now, change, tokens in notes:
            if at >= start + step or at < start:
                self._close(start)
                start = int(at) // step * step
            if ended is not None:
                self._batch(model).ended.append(ended)
            elif tokens:
                self._batch(model).tokens += tokens
            else:
                self._work_until(model, now, change)
                self._work_until(HOST, now, change)
        self._close(start)

    def _batch(self, model: str) -> _Batch:
        batch = self._batches.get(model)
        if batch is None:
            batch = self._batches[model] = _Batch()
        return batch

    def _work_until(self, name: str, now: float, change: int) -> None:
        work = self._work.get(name)
        if work is None:
            work = self._work[name] = _Work()
        if work.at_once:
            batch, seconds = self._batch(name), now - work.counted_until
            batch.work_seconds += seconds * work.at_once
            batch.busy_seconds += seconds
        work.counted_until = now
        work.at_once += change

    def _close(self, start: int) -> None:
        """Count what the models did in the interval from ``start`` on."""
        batches, self._batches = self._batches, {}
        for model, batch in batches.items():
            cell = self._cell(start, model)
            if batch.busy_seconds:
                # What belongs to the whole host is not a part of any model's: it must not be added to theirs.
                prefix = "host_" if model == HOST else ""
                cell.count(prefix + "work_seconds", batch.work_seconds)
                cell.count(prefix + "busy_seconds", batch.busy_seconds)
            tokens = batch.tokens
            if batch.ended:
                measures = [ended.measure for ended in batch.ended]
                tokens += sum([measure.tokens_out - measure.tokens_counted for measure in measures])
                _count_ended(cell, batch.ended, measures)
            if tokens:  # it is less than none after events that were no tokens
                cell.count("tokens_out", tokens)
                self._generated_tokens += tokens


def _count_ended(cell: Cell, requests: Sequence[EndedRequest], measures: Sequence[RequestMeasure]) -> None:
    count = cell.count
    count("requests", len(requests))
    answered = []
    for request in requests:
        if request.code is not None:
            count("failed")
            count(ERROR + request.code)
        elif request.is_cancelled:
            count("cancelled")
        else:
            answered.append(request.seconds)
    for name, amount_of in SUMS.items():
        if amount := sum(map(amount_of, measures)):
            count(name, amount)
    if loops := sum([measure.tool_calls > 0 for measure in measures]):
        count("loops", loops)
    seconds = [measure.first_token_seconds for measure in measures]
    cell.observe_all("latency", answered)
    cell.observe_all("first_token", [each for each in seconds if each is not None])
    cell.observe_all("between_tokens", [each for measure in measures for each in measure.between_tokens_seconds])
    cell.observe_all("queue", [measure.queue_seconds for measure in measures if measure.was_queued])
