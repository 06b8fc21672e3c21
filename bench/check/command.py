"""``python -m bench --check``: fails if the working tree is slower or larger than another revision."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console

from bench.check.instructions import HOW_TO_INSTALL, NotCounted, can_count, count
from bench.check.judge import LEAST_ROUNDS, Judgement, Verdict, is_settled, judge, judge_instructions
from bench.check.report import check_json, check_table, relay_lines
from bench.check.rounds import METRICS, RoundFigures, measure_round
from bench.check.trees import CannotCompare, Tree, reference_revision, trees
from bench.measure import load_generator
from bench.sides import StartError

GREEN, FAILED, CANNOT_TELL = 0, 1, 2
MORE_ROUNDS: Final = 4  # where a figure looks worse: either it is, or more rounds will show that it is not


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What is compared and how long; ``log`` is what the processes write to."""

    against: str | None
    rounds: int | None
    quick: bool
    log: Path

    @property
    def least_rounds(self) -> int:
        """As many as asked for, but not too few to judge by; of a quick run, one is enough to see that it works."""
        return self.rounds or 1 if self.quick else max(self.rounds or LEAST_ROUNDS, LEAST_ROUNDS)


def check(options: CheckOptions, console: Console, about: dict[str, Any], result: Path) -> int:
    """Compare, print and write ``result``; return the exit status: 0, 1 for a regression, 2 if nothing was compared."""
    begun = time.monotonic()
    try:
        with _ended_by_sigterm(), trees(options.against or reference_revision()) as pair:
            rounds = _rounds(pair, options, console)
            instructions, notes, uncounted = _instructions(pair, options.log)
    except (CannotCompare, StartError) as error:
        console.print(f"Nothing was compared. {error}", highlight=False, soft_wrap=True)
        return CANNOT_TELL
    found = [*_judged(rounds), *instructions]
    console.print(check_table(found, reference=pair[0].name, rounds=len(rounds)))
    problems = [*sorted({problem for each in rounds for problem in each.problems}), *uncounted]
    for line in (*relay_lines(rounds), *notes, *problems):
        console.print(line, highlight=False)
    figures = {**about, "reference": pair[0].name, **check_json(found, rounds), "notes": notes}
    result.write_text(json.dumps(figures, indent=1))
    regressions = [each.metric.name for each in found if each.verdict is Verdict.REGRESSION]
    console.print(_conclusion(regressions, problems, time.monotonic() - begun), highlight=False)
    return FAILED if regressions or problems else GREEN


def _rounds(pair: tuple[Tree, Tree], options: CheckOptions, console: Console) -> list[RoundFigures]:
    """Measure the rounds, and a few more where a figure looks worse after them."""
    rounds: list[RoundFigures] = []
    most = options.least_rounds + (0 if options.quick else MORE_ROUNDS)
    with load_generator() as generator:
        while len(rounds) < options.least_rounds or (len(rounds) < most and not is_settled(_judged(rounds))):
            rounds.append(measure_round(generator, pair, len(rounds), options.log, quick=options.quick))
            console.print(f"[dim]round {len(rounds)}: done[/]", highlight=False)
    return rounds


def _judged(rounds: Sequence[RoundFigures]) -> list[Judgement]:
    return [judge(metric, [each.rounds[metric] for each in rounds]) for metric in METRICS]


def _instructions(pair: tuple[Tree, Tree], log: Path) -> tuple[tuple[Judgement, ...], list[str], list[str]]:
    """Return what the instructions say, why they cannot be counted here, and what went wrong when they were."""
    if not can_count():
        return (), [HOW_TO_INSTALL], []
    try:
        reference, tree = count(pair, log)
    except NotCounted as error:
        return (), [], [f"instructions were not counted: {error}"]
    return judge_instructions(reference, tree), [], []


def _conclusion(regressions: Sequence[str], problems: Sequence[str], seconds: float) -> str:
    took = f"in {seconds / 60:.1f} minutes"
    if regressions:
        return f"[red]The working tree is worse[/] {took}: {', '.join(regressions)}."
    if problems:
        return f"[red]Not all could be measured[/] {took}; the lines above say what."
    return f"[green]No regression[/] {took}."


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM end the block as Ctrl-C does, so that the checkout and the processes go."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
