"""deploy/: the dashboard and the rules are what the code says, and Prometheus' own tool accepts them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelhost.config.alerts import DEFAULT_RULES
from modelhost.http.metrics.exposition import Exposition
from modelhost.meters import METERS
from tools.dashboards.files import DASHBOARD, RULES, generated
from tools.reference.metrics import declared_metrics

TESTS = RULES.with_name("modelhost.test.yml")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$model": ".*"}
ONLY_THE_HOST_KNOWS = {"memory-near-budget", "gpu-hot"}
"""Rules on what is not among the metrics."""
SUFFIX = re.compile(r"_(total|bucket|count|sum)$")


def promtool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, input=text, check=False, timeout=60)


def graphs() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


def expressions() -> list[str]:
    """The dashboard's expressions, with values for its variables."""
    found = []
    for panel in graphs():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found.append(expression)
    return found


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def metrics_in(expression: str) -> set[str]:
    return {SUFFIX.sub("", name) for name in re.findall(r"\bmodelhost_\w+", expression)}


@pytest.mark.parametrize("path", [DASHBOARD, RULES], ids=lambda path: path.name)
def test_the_files_are_what_the_code_says(path: Path) -> None:
    assert path.read_text() == generated()[path], "run `python -m tools.dashboards`"


def test_dashboard_and_rules_read_only_metrics_that_there_are() -> None:
    known = {metric.name for metric in declared_metrics()}
    used = set().union(*(metrics_in(each) for each in [*expressions(), *(rule["expr"] for rule in rules())]))
    assert used - known == set()


@pytest.mark.promise("vllm-crush.export.dashboards")
def test_the_dashboard_shows_every_metric_of_models() -> None:
    of_models = {metric.name for metric in declared_metrics() if "model" in metric.labels}
    assert of_models - set().union(*map(metrics_in, expressions())) == set()


def test_no_two_graphs_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in json.loads(DASHBOARD.read_text())["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))


@pytest.mark.promise("vllm-crush.export.alerts")
def test_every_default_rule_of_the_host_is_one_of_prometheus_too_unless_only_the_host_knows() -> None:
    assert {rule["alert"] for rule in rules()} == DEFAULT_RULES.keys() - ONLY_THE_HOST_KNOWS | {"host-down"}


def test_every_rule_is_tested() -> None:
    tested = {
        case["alertname"] for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]
    }
    assert tested == {rule["alert"] for rule in rules()}


@needs_promtool
def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    recorded = [{"record": f"graph:{at}", "expr": expression} for at, expression in enumerate(expressions())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    checked = promtool("check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(recorded)} rules found" in checked.stdout


@needs_promtool
def test_promtool_accepts_the_rules_and_they_fire_when_they_should() -> None:
    for command in (("check", "rules", RULES), ("test", "rules", TESTS)):
        checked = promtool(*command)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
async def test_promtool_accepts_what_the_host_shows() -> None:
    text = b"".join([part async for part in Exposition(METERS.all()).render()]).decode()
    checked = promtool("check", "metrics", text=text)
    assert (checked.returncode, checked.stderr) == (0, "")
