"""What the benchmark shows of sessions and saved states: a table for people, values for the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from bench.figures import percentile
from bench.state import StateCost


def state_table(costs: Sequence[StateCost]) -> Table:
    """Return the table."""
    table = Table(*("", "", "p50", "p95"), title="sessions and saved states (times in ms)", title_justify="left")
    for cost in costs:
        values = (percentile([(seconds, 1) for seconds in cost.seconds], share) for share in (0.5, 0.95))
        table.add_row(cost.database, cost.what, *(f"{value * 1000:,.2f}" for value in values))
    for column in table.columns[2:]:
        column.justify = "right"
    return table


def state_json(costs: Sequence[StateCost]) -> dict[str, Any]:
    """Return all figures."""
    return {"state": [{"database": cost.database, "what": cost.what, "seconds": list(cost.seconds)} for cost in costs]}
