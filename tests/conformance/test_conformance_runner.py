"""The runner of the conformance suite: what it reads from the suite's words, and what the client calls."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.tools.offered import OfferedTool
from tests.conformance import __main__ as runner
from tests.conformance.client import calls_of, protocol_of

SAID = """
=== SUITE SUMMARY ===

✓ tools_call: 2 passed, 0 failed
✗ auth/scope-step-up: 19 passed, 1 failed
✗ sse-retry: 2 passed, 0 failed, 1 warnings

Total: 23 passed, 1 failed, 1 warnings
"""


def tool(name: str, **schema: Any) -> OfferedTool:
    function = {"type": "function", "function": {"name": name, "parameters": schema}}
    return OfferedTool(
        name=name, server="suite", tool=name, function=function, annotations={}, is_read_only=False, approval="auto"
    )


def test_summary_is_read() -> None:
    scores = list(runner.scores_in(SAID))
    assert [(score.scenario, score.passed, score.failed, score.warnings) for score in scores] == [
        ("tools_call", 2, 0, 0),
        ("auth/scope-step-up", 19, 1, 0),
        ("sse-retry", 2, 0, 1),
    ]
    leg = runner.Leg(name="any", package="", version="", scenarios=3)
    assert [score.is_good(leg) for score in scores] == [True, False, False]


def test_warning_of_what_is_not_asked_for_is_forgiven() -> None:
    leg = runner.Leg(name="any", package="", version="", scenarios=3, may_warn=frozenset({"sse-retry"}))
    warned = runner.Score(scenario="sse-retry", passed=0, failed=0, warnings=2)
    assert warned.is_good(leg)
    assert not runner.Score(scenario="sse-retry", passed=0, failed=1).is_good(leg)


def test_scenario_that_checked_nothing_is_not_good() -> None:
    leg = runner.Leg(name="any", package="", version="", scenarios=1)
    assert not runner.Score(scenario="x", passed=0, failed=0).is_good(leg)


def test_tools_are_called_with_what_they_need() -> None:
    properties = {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "boolean"}}
    tools = (tool("add_numbers"), tool("other", properties=properties, required=["a", "b"]))
    assert calls_of("tools_call", tools, {}) == [("add_numbers", {"a": 5, "b": 3}), ("other", {"a": 0, "b": "x"})]
    assert calls_of("initialize", tools, {}) == []


def test_calls_that_the_suite_gives_are_made_as_they_are() -> None:
    given = {"toolCalls": [{"name": "known", "arguments": {"a": None}}, {"name": "dropped"}]}
    assert calls_of("http-custom-headers", (tool("known"),), given) == [("known", {"a": None})]


def test_schema_is_given_back_as_it_came() -> None:
    focal = tool("json_schema_2020_12_tool", type="object", properties={"x": {"$ref": "#/$defs/y"}})
    (call,) = calls_of("json-schema-2020-12-preservation", (focal, tool("json_schema_echo")), {})
    assert call == ("json_schema_echo", {"schema": focal.function["function"]["parameters"]})


@pytest.mark.parametrize(
    ("version", "scenario", "protocol"),
    [
        ("2026-07-28", "tools_call", "auto"),
        ("2025-11-25", "tools_call", "legacy"),
        ("2026-07-28", "json-schema-ref-no-deref", "legacy"),
    ],
)
def test_era_is_the_scenarios(monkeypatch: pytest.MonkeyPatch, version: str, scenario: str, protocol: str) -> None:
    monkeypatch.setenv("MCP_CONFORMANCE_PROTOCOL_VERSION", version)
    assert protocol_of(scenario) == protocol
