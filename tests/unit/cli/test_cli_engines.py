"""``modelhost engines list``."""

from __future__ import annotations

import json

import pytest
import xllamacpp

from modelhost.cli.main import main
from modelhost.engines import ENGINES
from modelhost.engines.installed import MODULES


def test_every_engine_is_listed_with_its_version_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "list", "--json"]) == 0
    engines = {engine["name"]: engine for engine in json.loads(capsys.readouterr().out)}
    assert list(engines) == list(ENGINES) == list(MODULES)
    assert engines["llamacpp"]["version"] == xllamacpp.__version__
    assert xllamacpp.__file__.startswith(engines["llamacpp"]["location"])
    assert engines["mlx"]["reads"] == engines["transformers"]["reads"] == "safetensors"
    assert all(engine["is_installed"] and engine["why_not"] is None for engine in engines.values())


def test_an_engine_that_is_not_installed_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("modelhost.engines.installed.find_spec", lambda _: None)
    assert main(["engines", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (mlx,) = [line for line in lines if line.startswith("mlx")]
    assert "not installed" in mlx
    assert "pip install 'modelhost[mlx]'" in mlx
