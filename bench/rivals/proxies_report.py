"""What the benchmark shows of proxies: a table for people, values for the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.rivals.proxies import BARE, ProxyRow
from bench.targets import MB

COLUMNS = ("clients", "", "events/s", "share", "first token p50", "p99", "memory MB", "errors")


def proxies_table(rows: Sequence[ProxyRow]) -> Table:
    """Return the table."""
    title = "proxies in front of a worker with 100 tokens/s per stream (times in ms, medians of the rounds)"
    table = Table(*COLUMNS, title=title, title_justify="left")
    for column in (table.columns[0], *table.columns[2:]):
        column.justify = "right"
    for row in rows:
        if row.name == BARE:
            table.add_section()
        table.add_row(
            str(row.clients) if row.name == BARE else "",
            row.name,
            f"{row.events_per_second:,.0f}",
            _share(row, rows),
            f"{row.first_token('first_token_p50') * 1000:,.2f}",
            f"{row.first_token('first_token_p99') * 1000:,.2f}",
            f"{row.rss_bytes / MB:.0f}",
            str(sum(row.errors.values())),
        )
    return table


def _share(row: ProxyRow, rows: Sequence[ProxyRow]) -> str:
    (bare,) = (each for each in rows if each.name == BARE and each.clients == row.clients)
    return f"{row.events_per_second / bare.events_per_second:.3f}" if bare.events_per_second else "-"


def proxies_notes(rows: Sequence[ProxyRow]) -> list[str]:
    """Return the errors by kind."""
    return [
        f"proxies, {row.clients} clients, {row.name}: {count} x {what}"
        for row in rows
        for what, count in row.errors.items()
    ]


def proxies_json(rows: Sequence[ProxyRow]) -> dict[str, Any]:
    """Return all figures, every round of them."""
    return {"proxies": [asdict(row) | {"events_per_second": row.events_per_second} for row in rows]}
