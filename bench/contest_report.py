"""The engines: tables for people, values for the JSON, and what has to be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.contenders import HOST, WORKER
from bench.contest import EngineFigures, EngineRow
from bench.targets import Check

LEAST_RATIO = 0.95
RIVAL_CLIENTS = 8
COLUMNS = ("clients", "", "tokens/s", "first token p50", "ratio", "CPU s/1000 tokens", "of it in front", "errors")


def engine_table(figures: EngineFigures) -> Table:
    """Return the table of one engine."""
    title = f"{figures.engine}: the host beside {figures.reference} (times in ms, medians of the rounds)"
    table = Table(title=title, title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in figures.rows:
        for number, name in enumerate(row.runs):
            table.add_row("" if number else str(row.clients), name, *_cells(figures, row, name))
        table.add_section()
    for number, name in enumerate(figures.starts):
        seconds = f"{figures.start_seconds(name) * 1000:,.0f}"
        ratio = f"{figures.start_ratio:.3f}" if name == HOST else ""
        table.add_row("" if number else "start", name, "", seconds, ratio)
    return table


def _cells(figures: EngineFigures, row: EngineRow, name: str) -> tuple[str, ...]:
    ratio = None if name == figures.reference else row.ratio(name, figures.reference)
    cpu = (row.cpu_per_1000_tokens(name, which) for which in ("whole_cpu_seconds", "front_cpu_seconds"))
    return (
        f"{row.tokens_per_second(name):,.0f}",
        f"{row.first_token_p50(name) * 1000:,.1f}",
        "" if ratio is None else f"{ratio:.3f}",
        *("-" if seconds is None else f"{seconds:.3f}" for seconds in cpu),
        str(sum(row.errors(name).values())),
    )


def engine_checks(found: Sequence[EngineFigures]) -> list[tuple[str, Check]]:
    """Return the targets, each with where."""
    return [(f"engine {figures.engine}", check) for figures in found for check in _checks_of(figures)]


def _checks_of(figures: EngineFigures) -> list[Check]:
    checks = []
    for row in figures.rows:
        where = f"{row.clients} client{'s' if row.clients > 1 else ''}"
        ratio = row.ratio(HOST, figures.reference)
        if ratio is not None:
            checks.append(_check(f"tokens/s at {where}, host over {figures.reference}", ratio))
        rival = None if figures.rival is None else row.ratio(WORKER, figures.rival)
        if row.clients == RIVAL_CLIENTS and rival is not None:
            what = f"tokens/s at {where}, {WORKER} over {figures.rival}"
            checks.append(Check(what=what, target="over 1.00", measured=f"{rival:.2f}", is_reached=rival > 1))
    checks.append(
        _check(f"start to the first token, {figures.reference}'s seconds over the host's", figures.start_ratio)
    )
    return checks


def _check(what: str, ratio: float) -> Check:
    measured = f"{ratio:.2f}"
    return Check(what=what, target=f"at least {LEAST_RATIO}", measured=measured, is_reached=ratio >= LEAST_RATIO)


def engine_notes(found: Sequence[EngineFigures]) -> list[str]:
    """Return the errors by kind."""
    return [
        f"engine {figures.engine}, {row.clients} clients, {name}: {count} x {what}"
        for figures in found
        for row in figures.rows
        for name in row.runs
        for what, count in row.errors(name).items()
    ]


def engines_json(found: Sequence[EngineFigures]) -> dict[str, Any]:
    """Return all figures, every round of them, with the targets."""
    return {
        "engines": [
            {
                "engine": figures.engine,
                "reference": figures.reference,
                "start_seconds": dict(figures.starts),
                "rows": [_row_json(figures, row) for row in figures.rows],
                "targets": [asdict(check) for check in _checks_of(figures)],
            }
            for figures in found
        ]
    }


def _row_json(figures: EngineFigures, row: EngineRow) -> dict[str, Any]:
    sides = {
        name: {
            "tokens_per_second": row.tokens_per_second(name),
            "first_token_p50": row.first_token_p50(name),
            "ratio": row.ratio(name, figures.reference),
            "cpu_seconds_per_1000_tokens": row.cpu_per_1000_tokens(name, "whole_cpu_seconds"),
            "rounds": [asdict(run) | {"tokens_per_second": run.seen.tokens_per_second} for run in runs],
        }
        for name, runs in row.runs.items()
    }
    return {"clients": row.clients, "sides": sides}
