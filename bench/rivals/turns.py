"""Many short turns in which all builds do the same work, and what they show of one build beside another.

On a busy machine, an answer takes up to 17 times as long as the one before: its threads wait for one another, and each
of them for its share of a core, which depends on where the system runs the threads of both jobs. A few long rounds show
nothing there. A turn is short: each build does the work once in some order, and once in the reverse order, beside a job
that starts anew. The ratio of a turn is free of what slows all of it down, and an interval says what as many turns may
show by chance.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.rivals.works import ANSWER, ANSWERS, LONG, SHORT, Build, Work, other_work

TOKENS: Final = 32
"""Of an answer: long enough to be far from its prompt, and so short that there can be many turns."""
WORKS: Final = (
    SHORT,
    replace(ANSWER, name=f"one answer of {TOKENS}", tokens=TOKENS),
    replace(ANSWERS, name=f"four answers of {TOKENS}", tokens=TOKENS),
)
WHEN_IDLE: Final = (*WORKS, LONG)
"""Beside other work, a long prompt would take most of a turn."""
DRAWS: Final = 2000
CERTAINTY: Final = 0.95
"""The share of the draws within an interval."""
SEED: Final = 20
"""Of the draws, so that the same figures give the same interval; and of the orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure, and where it lies in ``CERTAINTY`` of the draws: as many turns, each drawn from those there were."""

    value: float
    low: float
    high: float

    def verdict(self, least: float) -> str:
        """Return whether the figure is ``least`` or more: of the whole interval, of none of it, or not decided."""
        if self.low >= least:
            return f"at least {least}"
        return f"below {least}" if self.high < least else "not decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The speed of one build over that of another in the same turns."""

    mean: Interval
    """The geometric mean of the turns' ratios: each turn counts the same."""
    total: Interval
    """The same work in all turns: the seconds of the other one, over those of this one. Slow turns count for more."""


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Return how ``ours`` compare with ``theirs``: the speeds of two builds with the same work, turn by turn."""
    turns = list(zip(ours, theirs, strict=True))
    chance = random.Random(SEED)
    drawn = [chance.choices(turns, k=len(turns)) for _ in range(DRAWS)]
    return Comparison(
        mean=_interval(_geometric_mean, turns, drawn),
        total=_interval(_total, turns, drawn),
    )


Turns = Sequence[tuple[float, float]]


def _geometric_mean(turns: Turns) -> float:
    return math.exp(statistics.fmean(math.log(mine / its) for mine, its in turns))


def _total(turns: Turns) -> float:
    return sum(1 / its for _, its in turns) / sum(1 / mine for mine, _ in turns)


def _interval(figure: Callable[[Turns], float], turns: Turns, drawn: Sequence[Turns]) -> Interval:
    found = sorted(figure(each) for each in drawn)
    outside = round((1 - CERTAINTY) / 2 * len(found))
    return Interval(value=figure(turns), low=found[outside], high=found[-1 - outside])


def measure_turns(
    builds: Mapping[str, Build], turns: int, *, is_busy: bool, works: Sequence[Work] | None = None
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Return the speeds of each build by work, of each turn: all tokens over all seconds of both runs.

    All ``works`` (``WORKS`` or ``WHEN_IDLE``) are done in a turn, one after the other. If the machine ``is_busy``, it
    is so in each turn anew.
    """
    works = works or (WORKS if is_busy else WHEN_IDLE)
    speeds: dict[str, dict[str, list[float]]] = {name: {work.name: [] for work in works} for name in builds}
    orders = random.Random(SEED)
    for _ in range(turns):
        order = orders.sample(list(builds), k=len(builds))
        with other_work(is_there=is_busy):
            for work in works:
                seconds = dict.fromkeys(order, 0.0)
                for name in (*order, *reversed(order)):
                    seconds[name] += builds[name](work)
                for name in order:
                    speeds[name][work.name].append(2 * work.counted / seconds[name])
    return {name: {work: tuple(seen) for work, seen in each.items()} for name, each in speeds.items()}
