"""History in a database: frames of fine intervals, merged into frames of coarser ones, and read back for a window.

Frames belong to a source, a host: several hosts share a database, and each merges its own. The finest frames have a
writer besides, a process: two processes of one source do not overwrite each other's. All functions here run within a
transaction. That of some databases is on the event loop: what computes for a while happens :meth:`~HistoryRows.apart`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol, TypeVar

from modelhost.config.value_types import MetricLevel
from modelhost.logs import get_logger
from modelhost.monitor.cells import Frame, UnreadableFrameError, merge_packed, pack

SUMMARIES: Final = (3600, 21_600, 86_400)
"""Further intervals, in seconds: long queries read those, a hundred rows instead of thousands."""
FEWEST: Final = 30
"""How many intervals of a summary there have to be for it to be worth its rows."""

ENOUGH: Final = 0.4
"""The share of the points that were asked for that is enough, where more would take many times as many rows."""


def levels_of(given: Sequence[MetricLevel]) -> tuple[MetricLevel, ...]:
    """Return the levels of the settings, the finest first, with summaries that are kept as long as the longest."""
    longest, coarsest = max(level.keep for level in given), given[-1].step
    summaries = [step for step in SUMMARIES if step > coarsest and step % coarsest == 0 and step * FEWEST <= longest]
    return (*given, *(MetricLevel(step=step, keep=longest) for step in summaries))


def level_for(levels: Sequence[MetricLevel], seconds: float, points: int) -> int:
    """Return the place of the coarsest level that divides ``seconds`` into about ``points``, two at least."""
    fewest = max(points * ENOUGH, 2)
    fitting = [place for place, level in enumerate(levels) if seconds / level.step >= fewest]
    return max(fitting, default=0)


T = TypeVar("T")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrame:
    """A packed frame of ``step`` seconds from ``start``, in seconds since 1970."""

    step: int
    start: int
    source: str
    writer: str
    """The process of a finest frame; empty for merged ones."""
    content: bytes


class HistoryRows(Protocol):
    """The stored frames, within one transaction."""

    def put(self, frames: Sequence[StoredFrame]) -> None:
        """Store frames, in the place of those of the same step, start, source and writer."""

    def frames(self, *, step: int, start: int, end: int, source: str) -> Sequence[tuple[int, bytes]]:
        """Return the start and the content of the frames that begin from ``start`` to before ``end``."""

    def newest(self, *, step: int, source: str) -> int | None:
        """Return the start of the newest frame."""

    def sources(self) -> Sequence[str]:
        """Return the sources that have frames."""

    def purge(self, *, step: int, before: int) -> None:
        """Delete frames that begin earlier."""

    def apart(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, which computes for a while, without holding an event loop."""


class HistoryStore(Protocol):
    """A database with frames. Both methods raise :class:`modelhost.errors.DatabaseUnavailable`."""

    @property
    def is_open(self) -> bool:
        """Whether it can be used without being opened first."""

    async def read(self, work: Callable[[HistoryRows], T]) -> T:
        """Do ``work`` in a transaction that changes nothing."""

    async def write(self, work: Callable[[HistoryRows], T]) -> T:
        """Do ``work`` in a transaction."""


class RollUps:
    """The intervals of coarser levels that have to be merged anew, since finer frames within them were written."""

    def __init__(self, levels: Sequence[MetricLevel], source: str) -> None:
        self._levels = levels
        self._source = source
        self._due: tuple[frozenset[int], ...] = tuple(frozenset() for _ in levels)

    def find(self, rows: HistoryRows) -> None:
        """Add what an earlier process of this source has left to be done."""
        due = list(self._due)
        for place in range(1, len(self._levels)):
            step, finer = self._levels[place].step, self._levels[place - 1].step
            newest = rows.newest(step=step, source=self._source)
            since = 0 if newest is None else newest + step
            last = rows.newest(step=finer, source=self._source)
            starts = [] if last is None else rows.frames(step=finer, start=since, end=last + 1, source=self._source)
            touched = {*(start for start, _ in starts), *(start for start in due[place - 1] if start >= since)}
            due[place] |= {start // step * step for start in touched}
        self._due = tuple(due)

    @property
    def next_at(self) -> float | None:
        """When the next interval ends that is due."""
        ends = [min(due) + level.step for due, level in zip(self._due, self._levels, strict=True) if due]
        return min(ends, default=None)

    def with_frames(self, starts: Sequence[int]) -> tuple[frozenset[int], ...]:
        """Return what is due once finest frames of ``starts`` are written, too."""
        return (
            self._due[0],
            *(
                due | {start // level.step * level.step for start in starts}
                for due, level in zip(self._due[1:], self._levels[1:], strict=True)
            ),
        )

    def run(self, rows: HistoryRows, due: Sequence[frozenset[int]], now: float) -> tuple[frozenset[int], ...]:
        """Merge the intervals of ``due`` that have ended at ``now``; return those that have not."""
        for place in range(1, len(self._levels)):
            finer, step = self._levels[place - 1].step, self._levels[place].step
            merged: list[StoredFrame] = []
            for start in sorted(due[place]):
                if start + step > now:
                    continue
                found = rows.frames(step=finer, start=start, end=start + step, source=self._source)
                if found:
                    whole = rows.apart(partial(_merged, [content for _, content in found]))
                    merged.append(StoredFrame(step=step, start=start, source=self._source, writer="", content=whole))
            rows.put(merged)
        return tuple(
            frozenset(start for start in starts if start + level.step > now)
            for starts, level in zip(due, self._levels, strict=True)
        )

    def settle(self, due: tuple[frozenset[int], ...]) -> None:
        """Note what is due, once the transaction that brought it about is committed."""
        self._due = due


def _merged(contents: Sequence[bytes]) -> bytes:
    frame: Frame = {}
    unreadable = 0
    for content in contents:
        try:
            merge_packed(frame, content)
        except UnreadableFrameError:
            unreadable += 1
    if unreadable:
        log.warning("metrics_unreadable", frames=unreadable)
    return pack(frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What to read: from ``start`` to before ``end``, with frames of the level at ``place`` where that has them."""

    start: int
    end: int
    place: int
    now: float


def frames_of(
    rows: HistoryRows, levels: Sequence[MetricLevel], span: Span, source: str | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield the start and the content of the frames of a span, of all sources or one, each moment once.

    The ends of the span, and what is not merged yet, are read from finer levels. Where those are deleted already, the
    first interval is read as a whole.
    """
    for each in rows.sources() if source is None else (source,):
        yield from _frames(rows, levels, span, each)


def _frames(rows: HistoryRows, levels: Sequence[MetricLevel], span: Span, source: str) -> Iterator[tuple[int, bytes]]:
    start, end, place = span.start, span.end, span.place
    if start >= end:
        return
    step = levels[place].step
    if place == 0:
        yield from rows.frames(step=step, start=start, end=end, source=source)
        return
    first = -(-start // step) * step
    if first > start and start < span.now - levels[place - 1].keep:
        start = first = first - step
    newest = rows.newest(step=step, source=source)
    last = end // step * step if newest is None else min(end // step * step, newest + step)
    if newest is None or last <= first:
        yield from _frames(rows, levels, replace(span, start=start, place=place - 1), source)
        return
    yield from _frames(rows, levels, replace(span, end=first, start=start, place=place - 1), source)
    yield from rows.frames(step=step, start=first, end=last, source=source)
    yield from _frames(rows, levels, replace(span, start=last, place=place - 1), source)
