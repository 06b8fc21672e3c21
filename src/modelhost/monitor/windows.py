"""Windows: what happened in the time up to now, put together of stored frames and of those not written yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelhost.monitor.cells import SKETCHES, Cell, Frame, cells_in, summed


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of the frames is read."""

    model: str | None = None
    """The only model, if any."""
    sketches: Collection[str] = SKETCHES
    """The distributions."""


EVERYTHING: Final = Selection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A part of a window."""

    start: int
    seconds: int
    total: Cell
    """The sum over all models that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened in the last ``seconds`` before ``end``, a time in seconds since 1970."""

    end: float
    seconds: int
    frame: Frame
    points: Sequence[Point] = ()

    @property
    def total(self) -> Cell:
        """The sum over all models."""
        return summed(self.frame.values())


class WindowParts:
    """The frames of a window, as they are merged. For one thread at a time."""

    def __init__(self, start: int, step: int | None, only: Selection) -> None:
        """``step``: the length of a point, if points are wanted."""
        self._start = start
        self._step = step
        self._only = only
        self._frame: Frame = {}
        self._points: dict[int, Cell] = {}
        """By place."""

    def merge_stored(self, frames: Iterable[tuple[int, bytes]]) -> None:
        """Add packed frames by their start."""
        for start, content in frames:
            for name, cell in cells_in(content, self._only.model, self._only.sketches):
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
        place = max(0, start - self._start) // self._step
        of_point = self._points.get(place)
        if of_point is None:
            of_point = self._points[place] = Cell()
        return of_model, of_point

    def window(self, *, end: float, seconds: int) -> Window:
        """Return what was merged."""
        step = self._step or 0
        points = [
            Point(start=self._start + place * step, seconds=step, total=total)
            for place, total in sorted(self._points.items())
        ]
        return Window(end=end, seconds=seconds, frame=self._frame, points=points)


def point_step(seconds: int, points: int, step: int) -> int:
    """Return the length of a point: a multiple of ``step``."""
    return max(1, round(seconds / points / step)) * step
