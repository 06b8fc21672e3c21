"""``modelhost config show`` and ``modelhost config check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelhost.cli.main import main
from modelhost.config.fields import SETTINGS


def test_show_prints_every_setting_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "modelhost.yaml").write_text("alias: [a, b]\n")
    monkeypatch.setenv("MODELHOST_PORT", "9000")
    assert main(["config", "show", "org/name", "--api-key", "sesame"]) == 0
    rows = {line.split()[0]: line.split(maxsplit=1)[1].rstrip() for line in capsys.readouterr().out.splitlines()[1:]}
    assert list(rows) == list(SETTINGS)
    assert rows["model"].split() == ["org/name", "flag", "--model"]
    assert rows["port"].split() == ["9000", "environment", "MODELHOST_PORT"]
    assert rows["alias"].split() == ["a,", "b", "file", "modelhost.yaml"]
    assert rows["api_keys"].split() == ["********", "flag", "--api-key"]
    assert rows["slots"].split() == ["-", "default"]


def test_show_json_has_values_and_origins_with_keys_masked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELHOST_API_KEYS", "sesame,other")
    assert main(["config", "show", "--json", "--port", "9000"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["file"] is None
    assert set(shown["settings"]) == set(SETTINGS)
    assert shown["settings"]["port"] == {"value": 9000, "origin": "flag", "from": "--port"}
    keys = {"value": ["********", "********"], "origin": "environment", "from": "MODELHOST_API_KEYS"}
    assert shown["settings"]["api_keys"] == keys
    assert shown["settings"]["slots"] == {"value": None, "origin": "default", "from": None}


def test_check_says_ok_and_what_it_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out.startswith("OK: no configuration file")
    (tmp_path / "deploy.yaml").write_text("port: 1\n")
    assert main(["config", "check", "deploy.yaml"]) == 0
    assert capsys.readouterr().out == f"OK: deploy.yaml, 1 of {len(SETTINGS)} settings given\n"


def test_check_prints_all_problems_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "modelhost.yaml").write_text("prot: 1\nslots: x\n")
    assert main(["config", "check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: the configuration has 2 problems:",
        '  modelhost.yaml: unknown key "prot"; did you mean "port"?',
        '  modelhost.yaml: "slots": expected an integer, got "x"',
    ]


def test_check_of_a_file_that_is_not_there_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "x.yaml"]) == 1
    assert "there is no file x.yaml" in capsys.readouterr().err
