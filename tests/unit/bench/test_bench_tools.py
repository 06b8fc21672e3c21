"""The rows of tools: their arithmetic and judgement on made-up figures, and the real thing once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.__main__ import main
from bench.targets import tool_checks
from bench.tools import ToolCosts, effort_of
from bench.tools_report import tools_checks, tools_json, tools_table


def costs(**changes: Any) -> ToolCosts:
    seconds: dict[str, Any] = {
        "together": (0.21, 0.22, 0.9),
        "bare_call": (0.0010, 0.0012, 0.0011),
        "hub_call": (0.0013, 0.0014, 0.0015),
        "outside": (0.050, 0.060),
        "inside": (0.020, 0.024),
        "slowest": 2.0,
        "all_servers": 2.3,
    }
    return ToolCosts(**(seconds | changes))


def test_host_adds_the_difference_of_the_medians_to_a_call() -> None:
    assert costs().added_call_seconds == pytest.approx(0.0003)
    assert costs().loop_ratio == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"together": (0.31,)}, ["3 tools of 200 ms in one turn"]),
        ({"hub_call": (0.0022,)}, ["added to a call of the bare SDK"]),
        ({"inside": (0.051,)}, ["loop of 5 steps, inside over outside"]),
        ({"all_servers": 2.6}, ["20 servers, after the slowest"]),
    ],
)
def test_each_figure_has_its_target(changes: dict[str, Any], missed: list[str]) -> None:
    assert [check.what for check in tool_checks(costs(**changes)) if not check.is_reached] == missed


def test_report_shows_all_rows() -> None:
    console = Console(width=150)
    with console.capture() as capture:
        console.print(tools_table(costs()))
    assert "20 servers are ready" in capture.get()
    assert len(tools_checks(costs())) == 4
    assert tools_checks(None) == []


def test_json_holds_every_round_and_the_targets() -> None:
    result = json.loads(json.dumps(tools_json(costs())))["tools"]
    assert result["inside"] == [0.020, 0.024]
    assert all(target["is_reached"] for target in result["targets"])
    assert tools_json(None) == {"tools": None}


@pytest.mark.parametrize("quick", [True, False])
def test_effort_is_bounded(quick: bool) -> None:
    effort = effort_of(quick=quick)
    assert effort.requests * 0.5 + effort.calls * 0.01 < 30


def test_tools_are_measured_with_real_servers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--only", "tools", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    assert result["problems"] == []
    assert len(result["tools"]["inside"]) == len(result["tools"]["outside"]) == 5
    said = capsys.readouterr().out
    assert "loop of 5 steps, host" in said
    assert "mcp_server_ready" not in said
