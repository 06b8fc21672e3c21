"""Sketches: merged ones are the same as one of all values."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from modelhost.monitor.sketch import Sketch, unpacked
from tests.support.nearest_rank import nearest_rank

SHARES = (0, 0.01, 0.25, 0.5, 0.95, 0.99, 1)
CHANCE = random.Random(11)
MANY = [CHANCE.lognormvariate(0, 1) for _ in range(3000)]


def sketch_of(values: Sequence[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def quantiles(sketch: Sketch) -> Sequence[float | None]:
    return [sketch.quantile(share) for share in SHARES]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([MANY[:1500], MANY[1500:]], id="bins in a row"),
        pytest.param([[value] for value in MANY[:200]], id="one value each"),
        pytest.param([[0.001] * 500 + [300.0] * 20, [0.002] * 40], id="many values in few bins, apart"),
        pytest.param([[0.001, 300.0], [0.001, 0.5], MANY[:400]], id="few values, apart, and bins in a row"),
        pytest.param([[5.0] * 9, [0.1] * 9, [60.0] * 9], id="rows that begin and end elsewhere"),
        pytest.param([[0.0] * 5, [0.0, 0.25, 0.25], []], id="zeros, and no values"),
        pytest.param([[]], id="nothing"),
    ],
)
def test_merged_sketches_are_that_of_all_values(parts: Sequence[Sequence[float]]) -> None:
    whole = sketch_of([value for part in parts for value in part])
    stored, merged = Sketch(), Sketch()
    for part in parts:
        stored.merge_unpacked(unpacked(sketch_of(part).packed()))
        merged.merge(sketch_of(part))
    for found in (stored, merged):
        assert quantiles(found) == quantiles(whole)
        assert (found.count, found.largest, found.packed()[4:]) == (whole.count, whole.largest, whole.packed()[4:])
        assert found.mean == pytest.approx(whole.mean)


def test_a_sketch_can_be_added_to_after_it_was_merged_read_and_packed() -> None:
    sketch = sketch_of(MANY[:50])
    sketch.merge_unpacked(unpacked(sketch_of(MANY[50:1000]).packed()))
    assert sketch.quantile(0.5) == sketch_of(MANY[:1000]).quantile(0.5)
    for value in MANY[1000:1020]:
        sketch.add(value)
    assert sketch.packed() == sketch.packed()
    for value in MANY[1020:]:
        sketch.add(value)
    assert quantiles(sketch) == quantiles(sketch_of(MANY))


def test_quantiles_are_within_one_percent_of_the_values() -> None:
    sketch, values = Sketch(), sorted(MANY)
    for place in range(0, len(MANY), 7):
        sketch.merge_unpacked(unpacked(sketch_of(MANY[place : place + 7]).packed()))
    for share in SHARES:
        assert sketch.quantile(share) == pytest.approx(nearest_rank(values, share), rel=0.01)


@pytest.mark.parametrize("values", [[0.4, 0.8], MANY[:3], [0.0, 0.0, 5.0], MANY[:20], MANY[:100], MANY[:294]])
def test_quantiles_of_few_values_are_those_of_the_nearest_rank(values: Sequence[float]) -> None:
    sketch = sketch_of(values)
    for share in SHARES:
        assert sketch.quantile(share) == pytest.approx(nearest_rank(sorted(values), share), rel=0.01)


def test_no_quantile_is_outside_of_the_values() -> None:
    for value in MANY[:200]:
        sketch = sketch_of([value])
        assert quantiles(sketch) == [value] * len(SHARES)
        assert sketch.largest == value
