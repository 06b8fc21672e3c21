"""How long history is kept, and how finely: levels of growing intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from modelhost.config.metric_levels import MetricLevel

SUMMARIES: Final = (3600, 21_600, 86_400)
"""Further intervals, in seconds: long queries read those, a hundred rows instead of thousands."""
FEWEST: Final = 30
"""How many intervals of a summary there have to be for it to be worth its rows."""

ENOUGH: Final = 0.4
"""The share of the points that were asked for that is enough, where more would take many times as many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Rows of ``step`` seconds, deleted once they are older than ``keep`` seconds."""

    step: int
    keep: int


def levels_of(given: Sequence[MetricLevel]) -> tuple[Level, ...]:
    """Return the levels of the settings, the finest first, with summaries that are kept as long as the longest."""
    own = [Level(step=level.step_seconds, keep=level.keep_seconds) for level in given]
    longest, coarsest = max(level.keep for level in own), own[-1].step
    summaries = [step for step in SUMMARIES if step > coarsest and step % coarsest == 0 and step * FEWEST <= longest]
    return (*own, *(Level(step=step, keep=longest) for step in summaries))


def level_for(levels: Sequence[Level], seconds: float, points: int) -> int:
    """Return the place of the coarsest level that divides ``seconds`` into about ``points``, two at least."""
    fewest = max(points * ENOUGH, 2)
    fitting = [place for place, level in enumerate(levels) if seconds / level.step >= fewest]
    return max(fitting, default=0)
