"""What the benchmark shows of the doors: a table for people, values for the JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.doors import EVENTS, NOT_FOUND, RELAYED, DoorCosts, DoorRow
from bench.figures import DOORS
from bench.targets import Check

MOST_ADDED_FIRST_TOKEN_SECONDS = 0.0003  # p50 at one client, over a relayed chat
MOST_CPU_RATIO = 1.1  # over a chat as events


def doors_table(costs: DoorCosts) -> Table:
    """Return the table of the doors."""
    table = Table(
        *("", "first token p50", "p99", "added p50"),
        title="doors, scripted (times in ms; CPU of the host's process in s at full speed, medians of the rounds)",
        title_justify="left",
    )
    streams = tuple(costs.rows[0].full)
    for number in streams:
        table.add_column(f"CPU/1000 tokens, {_streams(number)}")
        table.add_column("ratio")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in costs.rows:
        cells = [f"{row.first_token(share) * 1000:.2f}" for share in (0.5, 0.99)]
        cells.append("" if row.way.name == RELAYED else f"{costs.added_first_token_seconds(row) * 1000:+.2f}")
        for number in streams:
            cells.append(f"{statistics.median(row.cpu_per_1000_tokens(number)):.4f}")
            cells.append("" if row.way.name == EVENTS else f"{costs.cpu_ratio(row, number):.2f}")
        table.add_row(row.way.name, *cells)
    return table


def doors_checks(costs: DoorCosts | None) -> list[tuple[str, Check]]:
    """Return the targets of the doors beside the chat door, each with where."""
    if costs is None:
        return []
    return [(row.way.name, check) for row in costs.others for check in _checks_of(costs, row)]


def _checks_of(costs: DoorCosts, row: DoorRow) -> list[Check]:
    added, most = costs.added_first_token_seconds(row), MOST_ADDED_FIRST_TOKEN_SECONDS
    found = [
        Check(
            what=f"added to the first token, over {RELAYED}",
            target=f"at most {most * 1000:.2f} ms",
            measured=f"{added * 1000:.2f} ms",
            is_reached=added <= most,
        )
    ]
    for number in row.full:
        ratio = costs.cpu_ratio(row, number)
        found.append(
            Check(
                what=f"CPU over {EVENTS}, {_streams(number)}",
                target=f"at most {MOST_CPU_RATIO:.2f}",
                measured=f"{ratio:.2f}",
                is_reached=ratio <= MOST_CPU_RATIO,
            )
        )
    return found


def doors_notes(costs: DoorCosts | None) -> list[str]:
    """Return the doors that were left out, and the errors by kind."""
    if costs is None:
        return []
    status = NOT_FOUND.partition(" ")[2]
    left_out = [f"{way.name}: not measured; {DOORS[way.door].path} answers {status}" for way in costs.left_out]
    errors = [f"first tokens of the doors: {count} x {what}" for what, count in costs.first_token_errors.items()]
    errors += [
        f"{row.way.name}, {_streams(number)}: {count} x {what}"
        for row in costs.rows
        for number, runs in row.full.items()
        for run in runs
        for what, count in run.seen.errors.items()
    ]
    return left_out + errors


def doors_json(costs: DoorCosts | None) -> dict[str, Any]:
    """Return all figures, every round of them, with the targets."""
    if costs is None:
        return {"doors": None}
    rows = [
        {
            "way": row.way.name,
            "path": DOORS[row.way.door].path,
            "first_token_p50": row.first_token(0.5),
            "first_token_p99": row.first_token(0.99),
            "added_first_token_seconds": costs.added_first_token_seconds(row),
            "first_tokens": row.first_tokens,
            "full": {
                str(number): {
                    "cpu_seconds_per_1000_tokens": row.cpu_per_1000_tokens(number),
                    "cpu_ratio": costs.cpu_ratio(row, number),
                    "rounds": [asdict(run) for run in runs],
                }
                for number, runs in row.full.items()
            },
            "targets": [asdict(check) for check in (_checks_of(costs, row) if row in costs.others else ())],
        }
        for row in costs.rows
    ]
    left_out = [way.name for way in costs.left_out]
    return {"doors": {"rows": rows, "left_out": left_out, "first_token_errors": dict(costs.first_token_errors)}}


def _streams(number: int) -> str:
    return "1 stream" if number == 1 else f"{number} streams"
