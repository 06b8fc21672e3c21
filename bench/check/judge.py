"""What the check makes of its figures: how far the trees differ, how much of that is noise, and what is too much.

A round measures both trees twice, in the order A B B A, so that a machine that gets slower meanwhile does so for both.
The difference is the median of the rounds' differences. The noise is how far such a median lies from nothing by
chance. The rounds tell: what differs between two runs of one tree is noise, and so is what differs between rounds.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LEAST_ROUNDS: Final = 7
DRAWS: Final = 2000
CERTAINTY: Final = 0.97  # of the draws stay within the noise, on either side
SEED: Final = 1
MOST_MORE_INSTRUCTIONS: Final = 0.02


class Verdict(StrEnum):
    SAME = "no difference beyond the noise"
    BETTER = "better"
    REGRESSION = "REGRESSION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure of a tree.

    ``floor`` is a difference, as a share of the reference's figure, that is none worth failing for. Of a figure that
    may be next to nothing, the share is taken of ``least_base`` at least.
    """

    name: str
    unit: str
    floor: float
    more_is_better: bool = False
    least_base: float = 0.0
    decimals: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The figures of one round: of each tree its first run and its second."""

    reference: tuple[float, float]
    tree: tuple[float, float]

    @property
    def difference(self) -> float:
        return (sum(self.tree) - sum(self.reference)) / 2

    @property
    def chance(self) -> float:
        """The same sum, with the second runs of the trees exchanged: what a change of the source does cancels out."""
        first, second = self.reference[0] - self.tree[0], self.reference[1] - self.tree[1]
        return (first - second) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One metric of both trees. ``difference`` and ``noise`` are shares; a positive difference is for the worse."""

    metric: Metric
    reference: float
    tree: float
    difference: float
    noise: float
    verdict: Verdict


def is_settled(found: Sequence[Judgement]) -> bool:
    """Whether more rounds would tell no more: no difference is beyond its floor, be it noise or not."""
    return all(each.difference <= each.metric.floor for each in found)


def judge(metric: Metric, rounds: Sequence[Round]) -> Judgement:
    """Return the judgement of ``rounds``: a difference that exceeds the noise by more than the floor counts."""
    reference = statistics.median(sum(each.reference) / 2 for each in rounds)
    tree = statistics.median(sum(each.tree) / 2 for each in rounds)
    base = max(abs(reference), metric.least_base) * (-1 if metric.more_is_better else 1)
    worse = [each.difference / base for each in rounds]
    noise = noise_of(worse, [each.chance / base for each in rounds])
    difference = statistics.median(worse)
    return Judgement(
        metric=metric,
        reference=reference,
        tree=tree,
        difference=difference,
        noise=noise,
        verdict=_verdict(difference, noise + metric.floor),
    )


def noise_of(differences: Sequence[float], by_chance: Sequence[float]) -> float:
    """Return how far the median of as many ``differences`` lies from 0 by chance: not farther in 97 draws of 100.

    A draw takes what the rounds show of chance, with signs and repetitions as they fall. The same figures give the
    same noise.
    """
    middle = statistics.median(differences)
    seen = [*by_chance, *(value - middle for value in differences)]
    dice = random.Random(SEED)
    medians = sorted(
        abs(statistics.median(dice.choice((-1, 1)) * dice.choice(seen) for _ in differences)) for _ in range(DRAWS)
    )
    return medians[int(CERTAINTY * DRAWS)]


def _verdict(difference: float, limit: float) -> Verdict:
    if difference > limit:
        return Verdict.REGRESSION
    return Verdict.BETTER if difference < -limit else Verdict.SAME


def judge_instructions(
    reference: Mapping[str, Sequence[float]], tree: Mapping[str, Sequence[float]]
) -> tuple[Judgement, ...]:
    """Return the judgement of each hot path that both trees ran, from the instructions of its blocks.

    What a block has beyond the least of all blocks is something else that happened meanwhile, such as a timer. The
    noise is how far the next two lie above the least.
    """
    found = []
    for name in (name for name in reference if name in tree):
        before, now = min(reference[name]), min(tree[name])
        noise = max(sorted(blocks)[:3][-1] / min(blocks) - 1 for blocks in (reference[name], tree[name]))
        difference = now / before - 1
        found.append(
            Judgement(
                metric=Metric(name=f"instructions, {name}", unit="M", floor=MOST_MORE_INSTRUCTIONS, decimals=3),
                reference=before,
                tree=now,
                difference=difference,
                noise=noise,
                verdict=_verdict(difference, max(noise, MOST_MORE_INSTRUCTIONS)),
            )
        )
    return tuple(found)
