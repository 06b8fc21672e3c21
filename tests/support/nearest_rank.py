"""Percentiles by the nearest rank, the definition of those that the host reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def nearest_rank(values: Sequence[float], share: float) -> float:
    """Return the least of the sorted ``values`` that at least ``share`` of them do not exceed."""
    return values[max(math.ceil(Fraction(str(share)) * len(values)) - 1, 0)]
