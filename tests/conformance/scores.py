"""What the suite says of its scenarios: how many checks passed, failed and warned, and what that comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["passes", "fails", "warns", "skips"]
"""A scenario that made no check at all skips: it found nothing of what it is about."""

SCORE: Final = re.compile(r"^[✓✗~] (\S+): (\d+) passed, (\d+) failed(?:, (\d+) warnings)?", re.MULTILINE)
SOLO_SCORE: Final = re.compile(r"^Passed: (\d+)/\d+, (\d+) failed, (\d+) warnings", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a scenario found."""

    scenario: str
    passed: int
    failed: int
    warnings: int = 0

    @property
    def outcome(self) -> Outcome:
        if self.failed:
            return "fails"
        if self.warnings:
            return "warns"
        return "passes" if self.passed else "skips"


def scores_in(said: str) -> Iterator[Score]:
    """Read the summary of a run of many scenarios."""
    for found in SCORE.finditer(said):
        yield Score(scenario=found[1], passed=int(found[2]), failed=int(found[3]), warnings=int(found[4] or 0))


def solo_score_in(said: str, scenario: str) -> Score | None:
    """Read what a run of ``scenario`` alone found."""
    found = SOLO_SCORE.search(said)
    if found is None:
        return None
    return Score(scenario=scenario, passed=int(found[1]), failed=int(found[2]), warnings=int(found[3]))
