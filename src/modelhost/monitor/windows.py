"""Windows: what happened in the time up to now, put together of stored frames and of those not written yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelhost.monitor.cells import SKETCHES, Cell, Frame, UnreadableFrameError, cells_in, summed


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of the frames is read."""

    model: str | None = None
    """The only model, if any."""
    sketches: Collection[str] = SKETCHES
    """The distributions."""


EVERYTHING: Final = Selection()
SHORTEST_SECONDS: Final = 1.0
"""For rates: a single request in the first moment of a part makes no high one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A part of a window."""

    start: int
    seconds: int
    covered_seconds: float
    """What of it has passed."""
    total: Cell
    """The sum over all models that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened in the last ``seconds`` before ``end``, a time in seconds since 1970."""

    end: float
    seconds: int
    covered_seconds: float
    """The time that was read: it begins with a whole interval, and ends now."""
    frame: Frame
    points: Sequence[Point] = ()
    unreadable: int = 0
    """How many stored frames are left out because they are damaged, or of another version."""

    @property
    def total(self) -> Cell:
        return summed(self.frame.values())


class WindowParts:
    """The frames of a window, as they are merged. For one thread at a time."""

    def __init__(self, start: int, step: int | None, only: Selection, *, points_start: int | None = None) -> None:
        """``step``: the length of a point, if points are wanted.

        What began before ``points_start`` belongs to the first point.
        """
        self._start = start
        self._points_start = start if points_start is None else points_start
        self._step = step
        self._only = only
        self._frame: Frame = {}
        self._points: dict[int, Cell] = {}
        """By place."""
        self._unreadable = 0

    def merge_stored(self, frames: Iterable[tuple[int, bytes]]) -> None:
        """Add packed frames by their start, but those that cannot be read."""
        for start, content in frames:
            try:
                cells = cells_in(content, self._only.model, self._only.sketches)
            except UnreadableFrameError:
                self._unreadable += 1
                continue
            for name, cell in cells:
                for target in self._targets(name, start):
                    target.merge_stored(cell)

    def merge(self, start: int, frame: Mapping[str, Cell]) -> None:
        """Add a frame that begins at ``start``."""
        for name, cell in frame.items():
            if self._only.model in (None, name):
                for target in self._targets(name, start):
                    target.merge(cell, self._only.sketches)

    def _targets(self, name: str, start: int) -> Sequence[Cell]:
        of_model = self._frame.get(name)
        if of_model is None:
            of_model = self._frame[name] = Cell()
        if self._step is None:
            return (of_model,)
        place = max(0, start - self._points_start) // self._step
        of_point = self._points.get(place)
        if of_point is None:
            of_point = self._points[place] = Cell()
        return of_model, of_point

    def window(self, *, end: float, seconds: int) -> Window:
        covered = max(end - self._start, float(seconds))
        points = [
            self._point(self._points_start + place * self._step, self._step, end, total)
            for place, total in sorted(self._points.items())
            if self._step
        ]
        return Window(
            end=end,
            seconds=seconds,
            covered_seconds=covered,
            frame=self._frame,
            points=points,
            unreadable=self._unreadable,
        )

    def _point(self, start: int, seconds: int, end: float, total: Cell) -> Point:
        covered = min(max(end - start, SHORTEST_SECONDS), float(seconds))
        if start == self._points_start:
            covered += start - self._start
        return Point(start=start, seconds=seconds, covered_seconds=covered, total=total)


def point_step(seconds: int, points: int, step: int) -> int:
    """Return the length of a point: a multiple of ``step``."""
    return max(1, round(seconds / points / step)) * step
