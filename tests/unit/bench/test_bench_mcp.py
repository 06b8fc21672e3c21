"""The rows of MCP: their arithmetic and judgement on made-up figures, and the real thing once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.__main__ import main
from bench.mcp_calls import (
    ATTACHED,
    MCP_HTTP,
    OWN,
    PLAIN,
    McpCosts,
    calls_of,
    mcp_checks,
    mcp_json,
    mcp_table,
    quantile,
)


def costs(handshake: float = 1.0, **calls: float) -> McpCosts:
    seconds = {PLAIN: 0.002, MCP_HTTP: 0.003, ATTACHED: 0.0045, OWN: 0.0015} | calls
    return McpCosts(calls={way: (one, one, 10 * one) for way, one in seconds.items()}, handshakes=(handshake, 9.0, 0.1))


def test_what_is_added_is_the_difference_at_the_same_share_of_the_calls() -> None:
    assert costs().added(ATTACHED) == pytest.approx(0.0025)
    assert costs().added(ATTACHED, 0.95) == pytest.approx(0.025)
    assert costs().added(OWN) == pytest.approx(-0.0005)


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (quantile(values, 0.5), quantile(values, 0.95), quantile([3.0], 0.95)) == (51.0, 96.0, 3.0)


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (costs(), []),
        (costs(**{MCP_HTTP: 0.0061}), [f"added to a call {MCP_HTTP}"]),
        (costs(**{ATTACHED: 0.0061}), [f"added to a call {ATTACHED}"]),
        (costs(**{OWN: 0.0041}), [f"added to a call {OWN}"]),
        (costs(2.1), ["handshake over stdio"]),
    ],
)
def test_each_figure_has_its_target(found: McpCosts, missed: list[str]) -> None:
    assert [check.what for _, check in mcp_checks(found) if not check.is_reached] == missed


def test_report_and_json_show_every_way() -> None:
    console = Console(width=150)
    with console.capture() as capture:
        console.print(mcp_table(costs()))
    result: dict[str, Any] = json.loads(json.dumps(mcp_json(costs())))["mcp"]
    for way in (PLAIN, MCP_HTTP, ATTACHED, OWN):
        assert way in capture.get()
        assert len(result["calls"][way]) == 3
    assert all(target["is_reached"] for target in result["targets"])
    assert mcp_json(None) == {"mcp": None}
    assert mcp_checks(None) == []


@pytest.mark.parametrize("quick", [True, False])
def test_effort_is_bounded(quick: bool) -> None:
    assert calls_of(quick=quick) * 4 * 0.005 < 30


def test_calls_are_measured_with_real_servers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--only", "mcp", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    assert result["problems"] == []
    assert {len(seconds) for seconds in result["mcp"]["calls"].values()} == {100}
    assert "handshake" in capsys.readouterr().out
