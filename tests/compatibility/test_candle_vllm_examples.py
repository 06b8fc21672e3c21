"""The command lines of candle-vllm-server, its program and its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import modelhost
from modelhost.config.fields import SETTINGS
from tests.compatibility.examples import commands_of, settings_of

MODEL = "mistralai/Mistral-7B-Instruct-v0.3"


@pytest.mark.parametrize(
    ("number", "settings"),
    [
        pytest.param(0, {"model": MODEL, "port": 2000}, marks=pytest.mark.promise("candle-vllm.cli.model")),
        pytest.param(1, {"model": "model", "port": 2000}, marks=pytest.mark.promise("candle-vllm.cli.path")),
        pytest.param(
            2,
            {"model": MODEL, "mcp_config": "mcp.json", "port": 2000},
            marks=pytest.mark.promise("candle-vllm.cli.mcp-config"),
        ),
    ],
)
def test_a_command_line_serves_what_it_names(
    number: int,
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "mcp.json").write_text('{"servers": []}', "utf-8")
    words = commands_of("candle-vllm/command-line.sh")[number]
    options = [word.replace("/path/to/model/", "./model/") for word in words[words.index("--") + 1 :]]
    found = settings_of(options, capsys)
    assert {key: found[key] for key in settings} == settings


@pytest.mark.promise("candle-vllm.programmatic")
def test_the_list_of_arguments_of_a_program_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = str(tmp_path / "none.gguf")
    # As in the document, but for a model that ends it at once.
    assert modelhost.run(["--m", missing, "--p", "2000"]) == 1
    assert missing in capsys.readouterr().err


@pytest.mark.promise("candle-vllm.flags.queue-size", "candle-vllm.flags.request-timeout")
def test_the_defaults_are_those_of_the_document() -> None:
    assert (SETTINGS["queue_size"].default, SETTINGS["request_timeout"].default) == (10, 30)
