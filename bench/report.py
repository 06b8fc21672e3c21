"""What the benchmark shows: a table for people, JSON for programs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.figures import Row, Startup
from bench.targets import MB, Check, checks_of, startup_check

BUSY_CLIENT = 0.9  # share of a core from which on the load generator may be what is measured


def table_of(rows: Sequence[Row]) -> Table:
    """Return the table of all loads."""
    table = Table(title="bare worker / host, medians of the rounds", title_justify="left")
    table.add_column("load")
    for name in (
        "streams",
        "tokens/s",
        "ratio",
        "first token p50 ms",
        "p95 ms",
        "added p50 ms",
        "between p50 ms",
        "p95 ms",
        "host CPU s per 1000 chunks",
        "host RSS MB",
        "errors",
    ):
        table.add_column(name, justify="right")
    table.add_column("targets")
    for row in rows:
        table.add_row(*_cells(row), end_section=row is _last_of_load(rows, row))
    return table


def _last_of_load(rows: Sequence[Row], row: Row) -> Row:
    return [other for other in rows if other.load == row.load][-1]


def _cells(row: Row) -> list[str]:
    def both(figure: str, form: str, scale: float = 1) -> str:
        return " / ".join(_number(row.median(side, figure), form, scale) for side in ("bare", "host"))

    return [
        row.load,
        str(row.streams),
        both("tokens_per_second", "{:,.0f}"),
        _number(row.ratio, "{:.3f}"),
        both("first_token_p50", "{:.2f}", 1000),
        both("first_token_p95", "{:.2f}", 1000),
        _number(row.added_first_token_seconds, "{:+.2f}", 1000),
        both("between_p50", "{:.2f}", 1000),
        both("between_p95", "{:.2f}", 1000),
        _number(row.host_cpu_per_1000_chunks, "{:.4f}"),
        _number(row.host_rss_bytes, "{:.0f}", 1 / MB),
        f"{sum(row.errors('bare').values())} / {sum(row.errors('host').values())}",
        "\n".join(_verdict(check) for check in checks_of(row)),
    ]


def _number(value: float | None, form: str, scale: float = 1) -> str:
    return "-" if value is None else form.format(value * scale)


def _verdict(check: Check) -> str:
    colour, word = ("green", "reached") if check.is_reached else ("red", "NOT reached")
    return f"[{colour}]{check.what} {check.measured}, {check.target}: {word}[/]"


def startup_lines(startups: Sequence[Startup]) -> list[str]:
    """Return a line for each start that was measured."""
    lines = []
    for startup in startups:
        worker = statistics.median(startup.worker_seconds) if startup.worker_seconds else None
        whole = statistics.median(startup.host_seconds) if startup.host_seconds else None
        line = f"start, {startup.engine}: bare worker {_number(worker, '{:.2f}')} s, serve {_number(whole, '{:.2f}')} s"
        check = startup_check(startup)
        lines.append(f"{line}; {_verdict(check)}" if check else line)
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
                "host_rss_bytes": row.host_rss_bytes,
                "bare": _side(row, "bare"),
                "host": _side(row, "host"),
                "targets": [asdict(check) for check in checks_of(row)],
            }
            for row in rows
        ],
        "startup": [
            asdict(startup)
            | {
                "added_seconds": startup.added_seconds,
                "target": asdict(check) if (check := startup_check(startup)) else None,
            }
            for startup in startups
        ],
    }


def _side(row: Row, side: str) -> dict[str, Any]:
    runs = row.bare if side == "bare" else row.host
    figures = ("tokens_per_second", "first_token_p50", "first_token_p95", "between_p50", "between_p95")
    rounds = [asdict(run) | {"tokens_per_second": run.seen.tokens_per_second} for run in runs]
    return {name: row.median(side, name) for name in figures} | {"rounds": rounds}
