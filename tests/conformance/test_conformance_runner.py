"""The runner of the conformance suite: what it reads from the suite's words, what it takes for a surprise, and what
the client calls.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from modelhost.tools.catalogue import OfferedTool
from tests.conformance.client import calls_of, protocol_of
from tests.conformance.described import cases_in
from tests.conformance.legs import LEGS, NEW, Leg
from tests.conformance.responses import OPEN_RESPONSES, PACKAGED, ResponsesSuite, outcomes_of, surprises_in
from tests.conformance.scores import Outcome, Score, scores_in, solo_score_in

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
ROW = re.compile(
    r"^\| (?P<version>[\w.-]+) \| (?P<side>client|server) \| (?P<names>`.+?) \| (?P<outcome>\w+) \| \S", re.MULTILINE
)

RESPONSES_ROW = re.compile(
    r"^\| (?P<suite>[\w-]+) \| [\d.-]+ \| (?P<engine>scripted|llamacpp) \| \d+ of (?P<tests>\d+) \|(?P<others>.*)\|$",
    re.MULTILINE,
)

SAID = """
=== SUITE SUMMARY ===

✓ tools_call: 2 passed, 0 failed
✗ auth/scope-step-up: 19 passed, 1 failed
✗ sse-retry: 2 passed, 0 failed, 1 warnings
✓ sep-2640-client-no-prefetch: 0 passed, 0 failed

Total: 23 passed, 1 failed, 1 warnings
"""


def tool(name: str, **schema: Any) -> OfferedTool:
    function = {"type": "function", "function": {"name": name, "parameters": schema}}
    return OfferedTool(
        name=name, server="suite", tool=name, function=function, annotations={}, is_read_only=False, approval="auto"
    )


def test_summary_is_read() -> None:
    assert [(score.scenario, score.passed, score.failed, score.warnings) for score in scores_in(SAID)] == [
        ("tools_call", 2, 0, 0),
        ("auth/scope-step-up", 19, 1, 0),
        ("sse-retry", 2, 0, 1),
        ("sep-2640-client-no-prefetch", 0, 0, 0),
    ]
    assert [score.outcome for score in scores_in(SAID)] == ["passes", "fails", "warns", "skips"]


def test_result_of_a_scenario_alone_is_read() -> None:
    said = "\nTest Results:\nPassed: 9/14, 5 failed, 0 warnings\n"
    assert solo_score_in(said, "auth/dpop") == Score(scenario="auth/dpop", passed=9, failed=5)
    assert solo_score_in("no such scenario", "auth/dpop") is None


@pytest.mark.parametrize(
    ("scenario", "score", "surprises"),
    [
        ("any", {"passed": 2, "failed": 0}, False),
        ("any", {"passed": 2, "failed": 1}, True),
        ("any", {"passed": 2, "failed": 0, "warnings": 1}, True),
        ("any", {"passed": 0, "failed": 0}, True),
        ("failing", {"passed": 2, "failed": 1}, False),
        ("failing", {"passed": 3, "failed": 0}, True),
        ("warning", {"passed": 0, "failed": 0, "warnings": 2}, False),
        ("warning", {"passed": 0, "failed": 1, "warnings": 2}, True),
        ("skipping", {"passed": 0, "failed": 0}, False),
        ("skipping", {"passed": 1, "failed": 0}, True),
    ],
)
def test_surprise_is_an_outcome_that_is_not_documented(scenario: str, score: dict[str, int], surprises: bool) -> None:
    expected: dict[str, Outcome] = {"failing": "fails", "warning": "warns", "skipping": "skips"}
    leg = Leg(side="client", suite=NEW, scenarios=4, checks=0, expected=expected)
    assert leg.surprises(Score(scenario=scenario, **score)) is surprises


def test_documentation_names_each_scenario_that_does_not_pass() -> None:
    documented = {
        (row["version"], row["side"], name, row["outcome"])
        for row in ROW.finditer(PAGE.read_text("utf-8"))
        for name in re.findall("`(.+?)`", row["names"])
    }
    expected = {(leg.suite.version, leg.side, name, outcome) for leg in LEGS for name, outcome in leg.expected.items()}
    assert documented == expected


def test_cases_of_schemathesis_are_counted() -> None:
    assert cases_in("Test cases:\n  10020 generated, 1 found 1 unique failures, 6 skipped\n") == 10020
    assert cases_in("Schema Loading Error") == 0


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


def report(**outcomes: str) -> dict[str, Any]:
    return {"results": [{"id": name.replace("_", "-"), "status": status} for name, status in outcomes.items()]}


def test_reports_of_the_suites_of_responses_are_read() -> None:
    outcomes = outcomes_of(report(a="passed", b="pass", c="failed", d="fail", e="skipped", f="warn"))
    assert [name for name, passed in outcomes.items() if passed] == ["a", "b"]


def test_a_test_of_responses_surprises_that_is_not_documented_or_missing() -> None:
    suite = ResponsesSuite(name="s", tests=4, expected={"scripted": frozenset({"image-input"})})
    expected = report(a="passed", b="passed", c="passed", image_input="failed")
    assert surprises_in(suite, "scripted", outcomes_of(expected)) == []
    other = report(a="failed", image_input="passed")
    assert surprises_in(suite, "scripted", outcomes_of(other)) == ["a fails", "image-input passes", "2 missing"]


def test_documentation_names_each_test_of_responses_that_does_not_pass() -> None:
    rows = RESPONSES_ROW.finditer(PAGE.read_text("utf-8"))
    documented = {
        (row["suite"], row["engine"]): (int(row["tests"]), frozenset(re.findall("`([a-z]+-[a-z]+)`", row["others"])))
        for row in rows
    }
    suites = (OPEN_RESPONSES, *PACKAGED)
    assert documented == {
        (suite.name, engine): (suite.tests, names) for suite in suites for engine, names in suite.expected.items()
    }
