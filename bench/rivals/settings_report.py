"""What the benchmark shows of the settings of the ``llamacpp`` engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.rivals.settings import DEFAULT, SettingRow
from bench.rivals.works import WORKS


def settings_table(rows: Sequence[SettingRow]) -> Table:
    """Return the table: the speeds by default, and of each other setting the factor over them."""
    title = "settings of llama.cpp, each alone (tokens/s of all clients as it is; then factors over that, medians)"
    table = Table("file", "machine", "setting", title=title, title_justify="left")
    for work in WORKS:
        table.add_column(work.name, justify="right")
    for row in rows:
        default = next(each for each in rows if (each.kind, each.load, each.variant) == (row.kind, row.load, DEFAULT))
        is_default = row is default
        if is_default:
            table.add_section()
        speeds = [
            f"{row.speed(work):,.1f}" if is_default else f"{row.speed(work) / default.speed(work):.2f}"
            for work in WORKS
        ]
        table.add_row(row.kind if is_default else "", row.load if is_default else "", row.variant, *speeds)
    return table


def settings_json(rows: Sequence[SettingRow]) -> dict[str, Any]:
    """Return all figures, every round of them."""
    return {"settings": [asdict(row) for row in rows]}
