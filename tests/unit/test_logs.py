"""Loggers, which are made before logs are set up."""

from __future__ import annotations

import json

import pytest
import structlog

from modelhost import logs


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_logger_follows_the_level_and_the_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    log = logs.get_logger("module")
    logs.setup("info", "json")
    try:
        log.info("first", text="\u00e9", status=200)
        logs.set_level("warning")
        log.info("second")
        logs.set_level("info")
        log.info("third")
    finally:
        logs.setup("warning")
    first, third = _lines(capsys)
    assert {
        "module": "module",
        "event": "first",
        "level": "info",
        "text": "\u00e9",
        "status": 200,
    }.items() <= first.items()
    assert third["event"] == "third"


def test_what_json_has_no_form_for_is_written_as_python_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("warning", "json")
    logs.get_logger("module").warning("odd", value={1})
    (line,) = _lines(capsys)
    assert line["value"] == "{1}"


def test_a_logger_follows_a_configuration_that_somebody_else_made() -> None:
    log = logs.get_logger("module")
    logs.setup("warning")
    log.warning("before")
    structlog.reset_defaults()
    try:
        with structlog.testing.capture_logs() as lines:
            log.warning("after")
    finally:
        logs.setup("warning")
    assert [line["event"] for line in lines] == ["after"]
