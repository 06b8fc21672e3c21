"""The axes of the graphs."""

from __future__ import annotations

import pytest

from bench.plots import MOST_STEPS, ticks_up_to


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (478.8, [0, 200, 400, 600]),
        (3935, [0, 1000, 2000, 3000, 4000]),
        (8, [0, 2, 4, 6, 8]),
        (0.031, [0, 0.01, 0.02, 0.03, 0.04]),
        (1, [0, 0.25, 0.5, 0.75, 1]),
        (0, [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_ticks_are_round_numbers(highest: float, ticks: list[float]) -> None:
    assert ticks_up_to(highest) == pytest.approx(ticks)


@pytest.mark.parametrize("highest", [1.5**number for number in range(-20, 40)])
def test_ticks_are_few_and_reach_the_highest_value(highest: float) -> None:
    ticks = ticks_up_to(highest)
    assert len(ticks) <= MOST_STEPS + 1
    assert ticks[-2] < highest <= ticks[-1] * (1 + 1e-9)
