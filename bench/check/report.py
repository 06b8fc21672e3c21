"""What the check shows: a table for people, values for the JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.table import Table

from bench.check.judge import Judgement, Verdict
from bench.check.rounds import RoundFigures

COLOURS: Final = {Verdict.SAME: "dim", Verdict.BETTER: "green", Verdict.REGRESSION: "bold red"}
MOST_ADDED_OVER_RELAY_MS: Final = 0.1


def check_table(found: Sequence[Judgement], *, reference: str, rounds: int) -> Table:
    """Return the table; a positive difference is for the worse."""
    table = Table(title=f"the working tree against {reference}, {rounds} rounds", title_justify="left")
    table.add_column("metric")
    for name in (reference, "working tree", "worse by", "noise", "allowed beyond it"):
        table.add_column(name, justify="right")
    table.add_column("")
    for each in found:
        form = f"{{:,.{each.metric.decimals}f}} {each.metric.unit}"
        verdict = f"[{COLOURS[each.verdict]}]{each.verdict}[/]"
        values = (form.format(each.reference), form.format(each.tree))
        shares = (f"{each.difference:+.1%}", f"{each.noise:.1%}", f"{each.metric.floor:.0%}")
        table.add_row(each.metric.name, *values, *shares, verdict)
    return table


def relay_lines(rounds: Sequence[RoundFigures]) -> list[str]:
    """Return how the host stands to the reference relay, which is no reason to fail."""
    added = statistics.median(each.added_over_relay_ms for each in rounds)
    relay = statistics.median(each.relay_added_ms for each in rounds)
    cpu = statistics.median(each.relay_cpu_ms for each in rounds)
    target = f"(target: at most {MOST_ADDED_OVER_RELAY_MS} ms)"
    return [
        f"added to the first token over the reference relay: {added:.3f} ms {target}",
        f"the reference relay: {relay:.3f} ms added to the first token, {cpu:.1f} ms of CPU for 1,000 tokens",
    ]


def check_json(found: Sequence[Judgement], rounds: Sequence[RoundFigures]) -> dict[str, Any]:
    """Return every judgement, and every figure of every round."""
    return {
        "judgements": [asdict(each) | {"verdict": each.verdict.name.lower()} for each in found],
        "rounds": [
            {
                "figures": {metric.name: asdict(values) for metric, values in each.rounds.items()},
                "relay_added_ms": each.relay_added_ms,
                "relay_cpu_ms": each.relay_cpu_ms,
                "problems": each.problems,
            }
            for each in rounds
        ],
    }
