"""Sketches of many values: quantiles within one percent, which can be stored and merged without loss.

DDSketch (https://www.vldb.org/pvldb/vol12/p2195-masson.pdf) counts values in bins whose bounds grow by a fixed factor.
The library's stores keep a list of all bins between the smallest and the largest; an interval of a few requests uses
few of them.

Merged bins are the digits of one large number, with 64 bits for each: adding two such numbers adds all of their bins at
once, and much faster than a loop over them.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, repeat
from typing import Final, NamedTuple

from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import Store

ACCURACY: Final = 0.01
"""The largest relative error of a quantile."""
_MAPPING: Final = LogarithmicMapping(ACCURACY)

DENSE: Final = 3
"""Up to so many bins in a row for each that is used are stored as a list."""
FEW: Final = 2
"""Up to so many values for each bin that is used are merged one by one, unless the bins are in a row."""
ROUNDING: Final = 1e-6
"""By which a rank may be off as a product of floating-point numbers."""
BYTES: Final = 8
BITS: Final = 8 * BYTES
"""Of a bin in a row."""

Packed = tuple[float, float, float, float, int, list[int], list[int] | None]
"""A sketch as it is stored: the values of zero, the sum, the least and the largest value, the key of the first bin, the
counts of its bins, and the distances between their keys unless they are in a row."""


class Unpacked(NamedTuple):
    """A stored sketch, ready to be merged into several."""

    zeros: float
    total: float
    least: float
    largest: float
    values: float
    first: int
    row: int
    """The bins from the key ``first`` on, if they are in a row."""
    keys: Sequence[int]
    """Otherwise the key of each value."""


def unpacked(packed: Packed) -> Unpacked:
    """Return what :meth:`Sketch.packed` returned, ready to be merged."""
    zeros, total, least, largest, first, counts, distances = packed
    added = sum(counts)
    if distances is None:
        return Unpacked(zeros, total, least, largest, added, first, _row_of(counts), ())
    keys = list(accumulate(distances, initial=first))[1:]  # the first distance is 0
    if added <= FEW * len(counts):
        every = list(chain.from_iterable(map(repeat, keys, counts)))
        return Unpacked(zeros, total, least, largest, added, first, 0, every)
    row = _row_of(_in_a_row(first, keys[-1], zip(keys, counts, strict=True)))
    return Unpacked(zeros, total, least, largest, added, first, row, ())


def _in_a_row(first: int, last: int, bins: Iterable[tuple[int, float]]) -> Sequence[int]:
    counts = [0] * (last - first + 1)
    for key, count in bins:
        counts[key - first] += int(count)
    return counts


def _row_of(counts: Sequence[int]) -> int:
    return int.from_bytes(struct.pack(f"<{len(counts)}Q", *counts), "little")


class _Bins(Store):
    """Bins by key, and what was merged: bins in a row, and the keys of single values."""

    def __init__(self) -> None:
        super().__init__()
        self.added: dict[int, float] = {}
        self.keys: list[int] = []
        self.row = 0
        self.first = 0
        """The key of the first bin in the row."""
        self._sums: list[int] = []
        """For each bin in the row, how many values it and those before it have, when ``count`` was as follows."""
        self._summed_at = 0.0

    def copy(self, store: _Bins) -> None:
        self.added, self.keys = dict(store.added), list(store.keys)
        self.row, self.first, self.count = store.row, store.first, store.count
        self._sums, self._summed_at = [], 0.0

    def length(self) -> int:
        return len(self.counts()[1])

    def add(self, key: int, weight: float = 1.0) -> None:
        self.added[key] = self.added.get(key, 0) + weight
        self.count += weight

    def add_row(self, first: int, row: int) -> None:
        """Add bins from the key ``first`` on, without their values to ``count``."""
        if not self.row:
            self.row, self.first = row, first
        elif first < self.first:
            self.row, self.first = (self.row << (self.first - first) * BITS) + row, first
        else:
            self.row += row << (first - self.first) * BITS

    def merge(self, store: _Bins) -> None:
        for key, count in store.added.items():
            self.added[key] = self.added.get(key, 0) + count
        self.keys.extend(store.keys)
        if store.row:
            self.add_row(store.first, store.row)
        self.count += store.count

    def counts(self) -> tuple[int, Sequence[int]]:
        """Return the first key and the counts of all bins from there on."""
        bins = self
        if self.added or self.keys:
            bins = _Bins()
            bins.copy(self)
            bins.settle()
        size = -(-bins.row.bit_length() // BITS)
        return bins.first, struct.unpack(f"<{size}Q", bins.row.to_bytes(size * BYTES, "little"))

    def settle(self) -> None:
        """Put all bins in a row."""
        if not (self.added or self.keys):
            return
        apart = Counter(self.keys)
        for key, count in self.added.items():
            apart[key] += int(count)
        self.added, self.keys = {}, []
        first = min(apart)
        self.add_row(first, _row_of(_in_a_row(first, max(apart), apart.items())))

    def key_at_rank(self, rank: float, lower: bool = True) -> int:
        if self._summed_at != self.count:  # values are never taken away
            self.settle()
            self.first, counts = self.counts()
            self._sums, self._summed_at = list(accumulate(counts)), self.count
        place = bisect_right(self._sums, rank) if lower else bisect_left(self._sums, rank + 1)
        return self.first + min(place, len(self._sums) - 1)


class Sketch(BaseDDSketch):
    """A sketch of values that are not negative."""

    def __init__(self) -> None:
        super().__init__(mapping=_MAPPING, store=_Bins(), negative_store=_Bins(), zero_count=0.0)

    def add_all(self, values: Sequence[float]) -> None:
        """Add values, of which there is at least one."""
        key, bins, zeros = _MAPPING.key, self._store.added, 0
        for value in values:
            if value > _MAPPING.min_possible:
                place = key(value)
                bins[place] = bins.get(place, 0) + 1
            else:
                zeros += 1
        self._store.count += len(values) - zeros
        self._zero_count += zeros
        self._count += len(values)
        self._sum += sum(values)
        self._min, self._max = min(self._min, *values), max(self._max, *values)

    def quantile(self, share: float) -> float | None:
        """Return the least value that at least ``share`` of the values do not exceed; ``None`` without values.

        That is the nearest rank: with few values, the library's own rank is a lower one.
        """
        if not self.count:
            return None
        rank = max(math.ceil(share * self.count - ROUNDING) - 1, 0)
        if rank < self._zero_count:
            return 0.0
        found = _MAPPING.value(self._store.key_at_rank(rank - self._zero_count))
        return float(min(max(found, self._min), self._max))

    @property
    def mean(self) -> float | None:
        """The mean, which is exact; ``None`` without values."""
        return float(self.sum / self.count) if self.count else None

    @property
    def largest(self) -> float | None:
        """The largest value, which is exact; ``None`` without values."""
        return float(self._max) if self.count else None

    def packed(self) -> Packed:
        """Return it as plain values for :func:`unpacked`."""
        first, counts = self._store.counts()
        used = [place for place, count in enumerate(counts) if count]
        numbers = (_plain(self._zero_count), self._sum, self._min, self._max)
        if len(counts) <= DENSE * len(used):
            return *numbers, first, list(counts), None
        distances = [place - before for place, before in zip(used, [0, *used], strict=False)]
        return *numbers, first, [counts[place] for place in used], distances

    def merge_unpacked(self, other: Unpacked) -> None:
        if other.row:
            self._store.add_row(other.first, other.row)
        else:
            self._store.keys.extend(other.keys)
        self._store.count += other.values
        self._zero_count += other.zeros
        self._count += other.values + other.zeros
        self._sum += other.total
        self._min, self._max = min(self._min, other.least), max(self._max, other.largest)


def _plain(number: float) -> float:
    """Return a whole number as one, which takes a byte or two where it is stored."""
    return int(number) if number == int(number) else number
