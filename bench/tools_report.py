"""What the benchmark shows of tools: a table for people, values for the JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.targets import Check, tool_checks
from bench.tools import SERVERS, STEPS, WAITS, ToolCosts


def tools_table(costs: ToolCosts) -> Table:
    """Return the table."""
    table = Table(*("", "p50", "least", "most"), title="tools, scripted engine (times in ms)", title_justify="left")
    rows: tuple[tuple[str, Sequence[float]], ...] = (
        (f"{WAITS} tools of 200 ms in one turn", costs.together),
        ("a call, bare SDK", costs.bare_call),
        ("a call, host", costs.hub_call),
        (f"loop of {STEPS} steps, outside", costs.outside),
        (f"loop of {STEPS} steps, host", costs.inside),
        ("the slowest server is ready, alone", (costs.slowest,)),
        (f"{SERVERS} servers are ready", (costs.all_servers,)),
    )
    for what, seconds in rows:
        values = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(what, *(f"{value * 1000:,.2f}" for value in values))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def tools_checks(costs: ToolCosts | None) -> list[tuple[str, Check]]:
    """Return the targets, each with where."""
    return [] if costs is None else [("tools", check) for check in tool_checks(costs)]


def tools_json(costs: ToolCosts | None) -> dict[str, Any]:
    """Return all figures, every round of them, with the targets."""
    if costs is None:
        return {"tools": None}
    figures = {"added_call_seconds": costs.added_call_seconds, "loop_ratio": costs.loop_ratio}
    return {"tools": {**asdict(costs), **figures, "targets": [asdict(check) for check in tool_checks(costs)]}}
