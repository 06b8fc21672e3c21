"""The benchmark of sessions and saved states, in small."""

from __future__ import annotations

import pytest
from rich.console import Console

from bench import state
from bench.state import Extent, measure_state
from bench.state_report import state_json, state_table


def test_every_figure_is_measured_on_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "binaries", lambda: None)
    monkeypatch.setattr(state, "CONVERSATIONS", 10)
    costs = tuple(measure_state(Extent(sizes=(500,), turns=3, states=2)))
    assert [(cost.database, cost.what, len(cost.seconds)) for cost in costs] == [
        ("SQLite", "append to a session, of 500 messages", 3),
        ("SQLite", "hold, append, give back, of 500 messages", 3),
        ("SQLite", "read a session, of 500 messages", 3),
        ("SQLite", "save 10 conversations", 2),
        ("SQLite", "load 10 conversations", 2),
    ]
    assert all(seconds > 0 for cost in costs for seconds in cost.seconds)
    assert len(state_json(costs)["state"]) == len(costs)
    with Console(width=120).capture() as _, Console(width=120) as console:
        console.print(state_table(costs))
