"""The setting for alert rules: what it changes, and how its errors name their place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.alerts import DEFAULT_RULES, METRICS, alert_rules
from modelhost.config.settings import Settings
from modelhost.config.sources import load
from modelhost.errors import ConfigError


def problems_of(alerts: str, tmp_path: Path) -> str:
    (tmp_path / "modelhost.yaml").write_text(f"alerts:\n{alerts}")
    with pytest.raises(ConfigError) as caught:
        load({}, config_path=None, environ={}, cwd=tmp_path)
    return caught.value.message


def rules_of(alerts: Mapping[str, Any]) -> Mapping[str, Any]:
    return alert_rules(Settings(alerts=dict(alerts)).alerts)


def test_without_the_setting_all_default_rules_are_in_force() -> None:
    assert alert_rules({}).keys() == DEFAULT_RULES.keys()
    assert all(rule.metric in METRICS and rule.summary for rule in alert_rules({}).values())


def test_a_default_rule_can_be_changed_in_part() -> None:
    rule = rules_of({"worker-exits": {"threshold": 5, "for": "2m", "models": ["qwen*"]}})["worker-exits"]
    assert (rule.threshold, rule.for_seconds, rule.models, rule.window_seconds) == (5, 120, ["qwen*"], 600)


def test_a_default_rule_can_be_switched_off() -> None:
    assert "gpu-hot" not in rules_of({"gpu-hot": False})


def test_a_rule_can_be_added_with_the_first_statistic_of_its_metric() -> None:
    rule = rules_of({"busy": {"metric": "queue_length", "comparison": ">=", "threshold": 5, "window": 30}})["busy"]
    assert (rule.statistic, rule.window_seconds, rule.severity) == ("last", 30, "warning")


def test_a_rule_can_be_given_as_text_on_the_command_line(tmp_path: Path) -> None:
    flags = {"alerts": ['busy={"metric": "queue_length", "threshold": 5}', "gpu-hot=false"]}
    settings = load(flags, config_path=None, environ={}, cwd=tmp_path).settings
    rules = alert_rules(settings.alerts)
    assert rules["busy"].threshold == 5
    assert "gpu-hot" not in rules


@pytest.mark.parametrize(
    ("alerts", "problem"),
    [
        ("  busy: {metric: queue, threshold: 5}", '"busy.metric": there is no metric "queue"; there are requests, '),
        ("  busy: {metric: queue_length}", '"busy.threshold": it is missing'),
        (
            "  busy: {metric: queue_length, threshold: 5, statistic: p95}",
            '"busy.statistic": "queue_length" has no statistic "p95"; it has last, mean, min, max',
        ),
        (
            "  busy: {metric: queue_length, threshold: 5, window: 5 minutes}",
            '"busy.window": expected seconds, or text such as 90s, 5m or 2h',
        ),
        ("  worker-exits: {above: 5}", '"worker-exits.above": a rule has no such field; it has metric, statistic, '),
        ("  worker-exits: {threshold: many}", '"worker-exits.threshold": Input should be a valid number'),
        ("  worker-exits: {severity: bad}", "\"worker-exits.severity\": Input should be 'info', 'warning' or"),
        ("  worker-exist: false", '"worker-exist": no rule of the host has this name; there are model-failed, worker-'),
        ("  ' ': {metric: queue_length, threshold: 5}", '" ": the name of a rule has 1 to 100 characters, and no'),
        (
            "  broken: {metric: registry_ok, comparison: <, threshold: 1, models: [qwen]}",
            '"broken": "registry_ok" is of the host as a whole, and of no model',
        ),
        ("  worker-exits: {models: []}", '"worker-exits.models": List should have at least 1 item'),
        ("  worker-exits: true", '"worker-exits": expected the fields of a rule, or false to switch it off'),
    ],
)
def test_an_error_names_its_place_in_the_file(alerts: str, problem: str, tmp_path: Path) -> None:
    assert problems_of(alerts, tmp_path).startswith(f'modelhost.yaml: "alerts": {problem}')


def test_an_address_that_is_no_url_is_refused_without_repeating_it(tmp_path: Path) -> None:
    flags = {"alert_webhook": ["hooks.example/secret-token"]}
    with pytest.raises(ConfigError) as caught:
        load(flags, config_path=None, environ={}, cwd=tmp_path)
    assert "expected a URL such as https://alerts.example/hook" in caught.value.message
    assert "secret-token" not in caught.value.message
