"""What is counted: a cell holds what one model did in one interval, a frame the cells of all models."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from modelhost.monitor.sketch import Packed, Sketch, Unpacked, unpacked

HOST: Final = ""
"""The name of the cell for what belongs to no model: requests that name an unknown one, and times of the whole host."""

COUNTERS: Final = (
    *("requests", "failed", "cancelled", "tokens_in", "tokens_out", "tokens_cached", "turns", "tool_calls"),
    *("tool_seconds", "loops", "work_seconds", "busy_seconds", "loads", "evictions", "worker_exits", "drafted"),
    *("accepted", "host_work_seconds", "host_busy_seconds", "batch_sum", "batch_samples", "kv_sum", "kv_samples"),
)
"""Sums. They are stored by their place in this list, to which new ones are appended; errors by their own names."""
SKETCHES: Final = ("latency", "first_token", "between_tokens", "queue", "load")
"""Distributions of seconds, stored likewise."""
ERROR: Final = "error:"
"""What the counter of an error begins with; its code follows."""

_PLACES: Final = {name: place for place, name in enumerate(COUNTERS)}
_KNOWN_COUNTERS, _KNOWN_SKETCHES = range(len(COUNTERS)), range(len(SKETCHES))
# In parts, of which only those are decoded that are wanted.
_FRAME: Final = msgspec.msgpack.Decoder(dict[str, tuple[dict[int | str, float], dict[int, msgspec.Raw]]])
_SKETCH: Final = msgspec.msgpack.Decoder(Packed)


class StoredCell(NamedTuple):
    """A cell as it was stored, ready to be merged into several."""

    counters: Sequence[tuple[str, float]]
    sketches: Sequence[tuple[str, Unpacked]]


class Cell:
    """Sums and distributions by name."""

    __slots__ = ("counters", "sketches")

    def __init__(self) -> None:
        self.counters: dict[str, float] = {}
        self.sketches: dict[str, Sketch] = {}

    def count(self, name: str, amount: float = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + amount

    def observe(self, name: str, seconds: float) -> None:
        """Add to a distribution."""
        self.sketch(name).add(seconds)

    def observe_all(self, name: str, seconds: Sequence[float]) -> None:
        """Add each of ``seconds`` to a distribution."""
        if seconds:
            self.sketch(name).add_all(seconds)

    def sketch(self, name: str) -> Sketch:
        """Return a distribution, which is empty at first."""
        found = self.sketches.get(name)
        if found is None:
            found = self.sketches[name] = Sketch()
        return found

    def total(self, name: str) -> float:
        return self.counters.get(name, 0)

    def merge(self, other: Cell, sketches: Collection[str] = SKETCHES) -> None:
        """Add all of ``other``, but only those of its distributions that ``sketches`` names."""
        for name, amount in other.counters.items():
            self.count(name, amount)
        for name, sketch in other.sketches.items():
            if name in sketches:
                self.sketch(name).merge(sketch)

    def merge_stored(self, other: StoredCell) -> None:
        counters = self.counters
        for name, amount in other.counters:
            counters[name] = counters.get(name, 0) + amount
        for name, sketch in other.sketches:
            self.sketch(name).merge_unpacked(sketch)

    @property
    def errors(self) -> dict[str, int]:
        """The failed requests by the code of their error."""
        return {name[len(ERROR) :]: int(many) for name, many in self.counters.items() if name.startswith(ERROR)}


Frame = dict[str, Cell]
"""The cells of one interval by the name of the model."""


def summed(cells: Iterable[Cell]) -> Cell:
    """Return the sum over models."""
    total = Cell()
    for cell in cells:
        total.merge(cell)
    return total


def pack(frame: Mapping[str, Cell]) -> bytes:
    """Return a frame as bytes for :func:`cells_in`."""
    return zlib.compress(msgspec.msgpack.encode({model: _packed(cell) for model, cell in frame.items()}))


def _packed(cell: Cell) -> Any:
    counters: dict[int | str, float] = {
        _PLACES.get(name, name): int(amount) if amount == int(amount) else amount
        for name, amount in cell.counters.items()
    }
    return counters, {SKETCHES.index(name): sketch.packed() for name, sketch in cell.sketches.items()}


class UnreadableFrameError(ValueError):
    """A stored frame is damaged, or of another version."""


def cells_in(
    content: bytes, model: str | None = None, sketches: Collection[str] = SKETCHES
) -> Sequence[tuple[str, StoredCell]]:
    """Return the cells of a packed frame by model: all or one, with the distributions of ``sketches``.

    What later versions may count besides is left out.

    Raises:
        UnreadableFrameError: it is no such frame.
    """
    try:
        return [
            (name, StoredCell(_counters(counters), _sketches(stored, sketches)))
            for name, (counters, stored) in _FRAME.decode(zlib.decompress(content)).items()
            if model in (None, name)
        ]
    except (zlib.error, msgspec.MsgspecError, struct.error, ValueError, OverflowError) as error:
        raise UnreadableFrameError(str(error)) from error


def _counters(stored: Mapping[int | str, float]) -> Sequence[tuple[str, float]]:
    return [
        (COUNTERS[key] if isinstance(key, int) else key, amount)
        for key, amount in stored.items()
        if isinstance(key, str) or key in _KNOWN_COUNTERS
    ]


def _sketches(stored: Mapping[int, msgspec.Raw], wanted: Collection[str]) -> Sequence[tuple[str, Unpacked]]:
    return [
        (SKETCHES[place], unpacked(_SKETCH.decode(packed)))
        for place, packed in stored.items()
        if place in _KNOWN_SKETCHES and SKETCHES[place] in wanted
    ]


def merge_packed(frame: Frame, content: bytes) -> None:
    """Add a frame that was packed to ``frame``; raises UnreadableFrameError."""
    for model, cell in cells_in(content):
        frame.setdefault(model, Cell()).merge_stored(cell)
