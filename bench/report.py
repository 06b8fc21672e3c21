"""What the benchmark shows: a table for people, JSON for programs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.figures import Row, Startup
from bench.targets import MB, Check, checks_of, memory_check, startup_check

COLUMNS = (
    "streams",
    "",
    "tokens/s",
    "first token p50",
    "p95",
    "between p50",
    "p95",
    "errors",
    "ratio",
    "added p50",
    "CPU s/1000 chunks",
    "of it kernel",
    "RSS MB",
)
BUSY_CLIENT = 0.9  # share of a core from which on the load generator may be what is measured


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """Return a table for each load."""
    return [
        _table_of(load, [row for row in rows if row.load == load]) for load in dict.fromkeys(row.load for row in rows)
    ]


def _table_of(load: str, rows: Sequence[Row]) -> Table:
    table = Table(title=f"{load} (times in ms, medians of the rounds)", title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(str(row.streams), *_side_cells(row, "bare"))
        compared = (
            _number(row.ratio, "{:.3f}"),
            _number(row.added_first_token_seconds, "{:+.2f}", 1000),
            _number(row.host_cpu_per_1000_chunks, "{:.4f}"),
            _number(row.host_kernel_share, "{:.0%}"),
            _number(row.host_rss_bytes, "{:.0f}", 1 / MB),
        )
        table.add_row("", *_side_cells(row, "host"), *compared, end_section=True)
    return table


def _side_cells(row: Row, side: str) -> list[str]:
    return [
        side,
        _number(row.median(side, "tokens_per_second"), "{:,.0f}"),
        _number(row.median(side, "first_token_p50"), "{:,.2f}", 1000),
        _number(row.median(side, "first_token_p95"), "{:,.2f}", 1000),
        _number(row.median(side, "between_p50"), "{:,.2f}", 1000),
        _number(row.median(side, "between_p95"), "{:,.2f}", 1000),
        str(sum(row.errors(side).values())),
    ]


def targets_of(rows: Sequence[Row], startups: Sequence[Startup], others: Sequence[tuple[str, Check]] = ()) -> Table:
    """Return the table of the targets that apply to what was measured; ``others`` are where, and what."""
    table = Table("target", "where", "measured", "wanted", "", title="targets", title_justify="left")
    found = [(f"{row.load}, {row.streams} streams", check) for row in rows for check in checks_of(row)]
    if check := memory_check(rows):
        found.append(("all loads", check))
    found += [(f"start, {startup.engine}", check) for startup in startups if (check := startup_check(startup))]
    for where, check in (*found, *others):
        verdict = "[green]reached[/]" if check.is_reached else "[red]NOT reached[/]"
        table.add_row(check.what, where, check.measured, check.target, verdict)
    return table


def _number(value: float | None, form: str, scale: float = 1) -> str:
    return "-" if value is None else form.format(value * scale)


def startup_lines(startups: Sequence[Startup]) -> list[str]:
    """Return a line for each start that was measured."""
    lines = []
    for startup in startups:
        worker = statistics.median(startup.worker_seconds) if startup.worker_seconds else None
        whole = statistics.median(startup.host_seconds) if startup.host_seconds else None
        seconds = f"bare worker {_number(worker, '{:.2f}')} s, serve with its worker {_number(whole, '{:.2f}')} s"
        lines.append(f"from the start of the process to ready, {startup.engine}: {seconds}")
    return lines


def notes_of(rows: Sequence[Row]) -> list[str]:
    """Return what has to be known to read the table: errors by kind, and where the load generator was the limit."""
    notes = []
    for row in rows:
        for side in ("bare", "host"):
            for what, count in row.errors(side).items():
                notes.append(f"{row.load}, {row.streams} streams, {side}: {count} x {what}")
        busiest = max(
            (run.seen.client_cpu_seconds / run.seen.seconds for run in (*row.bare, *row.host) if run.seen.seconds),
            default=0.0,
        )
        if busiest > BUSY_CLIENT:
            notes.append(f"{row.load}, {row.streams} streams: the load generator itself used {busiest:.0%} of a core")
    return notes


def json_of(rows: Sequence[Row], startups: Sequence[Startup], about: dict[str, Any]) -> dict[str, Any]:
    """Return all figures, every round of them, with the targets."""
    return {
        **about,
        "rows": [
            {
                "load": row.load,
                "streams": row.streams,
                "ratio": row.ratio,
                "added_first_token_seconds": row.added_first_token_seconds,
                "host_cpu_seconds_per_1000_chunks": row.host_cpu_per_1000_chunks,
                "host_kernel_share": row.host_kernel_share,
                "host_rss_bytes": row.host_rss_bytes,
                "bare": _side(row, "bare"),
                "host": _side(row, "host"),
                "targets": [asdict(check) for check in checks_of(row)],
            }
            for row in rows
        ],
        "startup": [
            asdict(startup) | {"target": asdict(check) if (check := startup_check(startup)) else None}
            for startup in startups
        ],
    }


def _side(row: Row, side: str) -> dict[str, Any]:
    runs = row.bare if side == "bare" else row.host
    figures = ("tokens_per_second", "first_token_p50", "first_token_p95", "between_p50", "between_p95")
    rounds = [asdict(run) | {"tokens_per_second": run.seen.tokens_per_second} for run in runs]
    return {name: row.median(side, name) for name in figures} | {"rounds": rounds}
