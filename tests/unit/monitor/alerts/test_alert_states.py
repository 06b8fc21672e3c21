"""When alerts are pending, firing and resolved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from modelhost.config.alerts import AlertRule
from modelhost.monitor.alerts.states import Alert, AlertBoard, AlertState


def rule(**fields: Any) -> AlertRule:
    return AlertRule.model_validate({"metric": "queue_length", "threshold": 5, **fields})


def told(board: AlertBoard, of: AlertRule, values: Mapping[str, float], now: float) -> list[tuple[str, AlertState]]:
    return [(alert.subject, alert.state) for alert in board.update("busy", of, values, now)]


def only(board: AlertBoard) -> Alert:
    (alert,) = board.active
    return alert


def test_an_alert_without_a_duration_fires_at_once_and_is_resolved_once() -> None:
    board = AlertBoard("here")
    assert told(board, rule(), {"nano": 6}, 100) == [("nano", AlertState.FIRING)]
    assert told(board, rule(), {"nano": 7}, 110) == []
    assert (only(board).value, only(board).started_at, only(board).fired_at) == (7, 100, 100)
    (resolved,) = board.update("busy", rule(), {"nano": 1}, 120)
    assert (resolved.state, resolved.value, resolved.resolved_at) == (AlertState.RESOLVED, 7, 120)
    assert board.active == ()


def test_an_alert_is_pending_until_its_condition_has_held_for_long_enough() -> None:
    board, slow = AlertBoard("here"), rule(**{"for": 60})
    assert told(board, slow, {"nano": 6}, 100) == [("nano", AlertState.PENDING)]
    assert told(board, slow, {"nano": 6}, 159) == []
    assert told(board, slow, {"nano": 6}, 160) == [("nano", AlertState.FIRING)]
    assert (only(board).started_at, only(board).fired_at) == (100, 160)


def test_a_pending_alert_that_ceases_is_forgotten_and_begins_anew() -> None:
    board, slow = AlertBoard("here"), rule(**{"for": 60})
    told(board, slow, {"nano": 6}, 100)
    assert told(board, slow, {"nano": 5}, 150) == []
    told(board, slow, {"nano": 6}, 155)
    assert told(board, slow, {"nano": 6}, 170) == []
    assert only(board).started_at == 155


def test_an_alert_that_fired_before_a_restart_is_resolved_though_it_was_pending_again() -> None:
    slow = rule(**{"for": 60})
    before, board = AlertBoard("here"), AlertBoard("here")
    told(before, rule(), {"m": 9}, 0)
    told(board, slow, {"m": 9}, 10)
    board.take_up([only(before)])
    assert only(board).state is AlertState.FIRING
    assert told(board, slow, {"m": 1}, 20) == [("m", AlertState.RESOLVED)]


def test_each_model_has_an_alert_of_its_own() -> None:
    board = AlertBoard("here")
    told(board, rule(), {"nano": 6, "qwen": 6}, 100)
    assert told(board, rule(), {"nano": 6, "qwen": 1}, 110) == [("qwen", AlertState.RESOLVED)]
    assert only(board).subject == "nano"


def test_a_model_that_is_gone_resolves_its_alert() -> None:
    board = AlertBoard("here")
    told(board, rule(), {"nano": 6}, 100)
    assert told(board, rule(), {}, 110) == [("nano", AlertState.RESOLVED)]


def test_a_rule_watches_only_the_models_that_it_names() -> None:
    board = AlertBoard("here")
    assert told(board, rule(models=["qwen*"]), {"nano": 6, "qwen3": 6}, 100) == [("qwen3", AlertState.FIRING)]


@pytest.mark.parametrize(
    ("comparison", "holding", "not_holding"), [(">", 6, 5), (">=", 5, 4), ("<", 4, 5), ("<=", 5, 6)]
)
def test_each_comparison_holds_where_it_should(comparison: str, holding: float, not_holding: float) -> None:
    board = AlertBoard("here")
    assert told(board, rule(comparison=comparison), {"a": holding, "b": not_holding}, 0) == [("a", AlertState.FIRING)]
