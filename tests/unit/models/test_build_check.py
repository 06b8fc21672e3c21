"""When the scores of a build are those of the wheel."""

from __future__ import annotations

import math

import pytest

from modelhost.models.build_check import worst_difference

WHEEL = {1: -0.1, 2: -2.5, 3: -6.0}


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (WHEEL, 0.0),
        ({1: -0.1004, 2: -2.509, 4: -6.0}, 0.0),  # the last one of the likeliest is another
        ({1: -0.1, 2: -2.52, 3: -6.0}, 0.02),
        ({2: -0.1, 5: -0.2}, math.inf),
    ],
)
def test_scores_may_differ_by_a_hundredth(found: dict[int, float], difference: float) -> None:
    assert worst_difference(WHEEL, found) == pytest.approx(difference)
