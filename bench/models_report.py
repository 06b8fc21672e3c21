"""What the benchmark shows of several models: tables for people, values for the JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.alternation import Alternation
from bench.figures import Seen
from bench.first_use import FirstUse
from bench.targets import Check, first_use_check, together_check


def first_use_table(seen: FirstUse) -> Table:
    """Return the table of the models that are not loaded."""
    table = Table(
        *("", "first token p50", "least", "most", "added p50"),
        title="nano on llama.cpp, not loaded (times in ms, from the spawn or the request)",
        title_justify="left",
    )
    added = f"{seen.added_seconds * 1000:+.0f}"
    table.add_row("bare worker, spawned", *_times(seen.worker_seconds))
    table.add_row("host", *_times(seen.host_seconds), added)
    table.add_row("host, another model goes first", *_times(seen.swap_seconds))
    table.add_row("host, for the first time", *_times((seen.first_seconds,)))
    return table


def alternation_table(rows: Sequence[Alternation]) -> Table:
    """Return the table of the models that are asked in turns."""
    table = Table(
        *("clients", "", "requests/s", "first token p50", "p95", "errors", "ratio", "swaps", "requests a swap"),
        title="two models in turns, nano on llama.cpp (times in ms, medians of the rounds)",
        title_justify="left",
    )
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
        each = "-" if row.requests_per_swap is None else f"{row.requests_per_swap:.1f}"
        table.add_row(str(row.clients), "a host for each", *_cells(row.apart))
        table.add_row("", "one host, both fit", *_cells(row.together), ratio)
        cells = _cells((row.in_turns,))
        table.add_row("", "one host, one fits", *cells, "", str(row.swaps), each, end_section=True)
    return table


def models_checks(first_use: FirstUse | None, rows: Sequence[Alternation]) -> list[tuple[str, Check]]:
    """Return the targets that apply, each with where."""
    found = [("nano, not loaded", first_use_check(first_use))] if first_use else []
    return found + [
        (f"two models in turns, {row.clients} clients", check) for row in rows if (check := together_check(row))
    ]


def models_notes(rows: Sequence[Alternation]) -> list[str]:
    """Return the errors by kind."""
    return [
        f"two models in turns, {row.clients} clients: {count} x {what}"
        for row in rows
        for seen in (*row.apart, *row.together, row.in_turns)
        for what, count in seen.errors.items()
    ]


def models_json(first_use: FirstUse | None, rows: Sequence[Alternation]) -> dict[str, Any]:
    """Return all figures, every round of them, with the targets."""
    return {
        "first_use": first_use
        and {
            **asdict(first_use),
            "added_seconds": first_use.added_seconds,
            "target": asdict(first_use_check(first_use)),
        },
        "alternation": [
            {
                "clients": row.clients,
                "ratio": row.ratio,
                "swaps": row.swaps,
                "requests_per_swap": row.requests_per_swap,
                "apart": [_seen(seen) for seen in row.apart],
                "together": [_seen(seen) for seen in row.together],
                "in_turns": _seen(row.in_turns),
                "target": asdict(check) if (check := together_check(row)) else None,
            }
            for row in rows
        ],
    }


def _times(seconds: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{value * 1000:.0f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))


def _cells(runs: Sequence[Seen]) -> tuple[str, ...]:
    def median(figure: str, form: str, scale: float = 1) -> str:
        return form.format(statistics.median(getattr(seen, figure) for seen in runs) * scale)

    return (
        median("requests_per_second", "{:,.1f}"),
        median("first_token_p50", "{:,.1f}", 1000),
        median("first_token_p95", "{:,.1f}", 1000),
        str(sum(count for seen in runs for count in seen.errors.values())),
    )


def _seen(seen: Seen) -> dict[str, Any]:
    return asdict(seen) | {"requests_per_second": seen.requests_per_second}
