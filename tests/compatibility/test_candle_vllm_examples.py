"""The command lines of candle-vllm-server, its program and its defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import modelhost
from modelhost.config.fields import SETTINGS
from tests.compatibility.examples import commands_of
from tests.compatibility.started import GGUF, NANO, started, surroundings, with_port
from tests.support.hub import serve_hub
from tests.support.mcp_peers import free_port
from tests.support.tool_hosts import stub_server

MODEL = "mistralai/Mistral-7B-Instruct-v0.3"
PATH = "/path/to/model/"


@pytest.mark.parametrize(
    ("number", "served", "tools"),
    [
        pytest.param(0, MODEL, False, marks=pytest.mark.promise("candle-vllm.cli.model")),
        pytest.param(1, "modelhost-nano", False, marks=pytest.mark.promise("candle-vllm.cli.path")),
        pytest.param(2, MODEL, True, marks=pytest.mark.promise("candle-vllm.cli.mcp-config")),
    ],
)
def test_a_command_line_serves_what_it_names(number: int, served: str, tools: bool, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / NANO.name).symlink_to(NANO)
    if tools:
        (tmp_path / "mcp.json").write_text(json.dumps({"servers": [{"name": "stub", **stub_server()}]}), "utf-8")
    words = commands_of("candle-vllm/command-line.sh")[number]
    # What stands before is how cargo builds and runs it.
    options = [word.replace(PATH, "./model/") for word in words[words.index("--") + 1 :]]
    port = free_port()
    with (
        serve_hub(**{MODEL: GGUF}) as hub,
        started(
            with_port(options, "--p", port), tmp_path, port, surroundings(tmp_path, HF_ENDPOINT=hub.endpoint)
        ) as host,
    ):
        assert host.answer()["model"] == served
        assert ("stub_echo" in host.tools()) is tools


@pytest.mark.promise("candle-vllm.programmatic")
def test_the_list_of_arguments_of_a_program_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = str(tmp_path / "none.gguf")
    # As in the document, but for a model that ends it at once.
    assert modelhost.run(["--m", missing, "--p", "2000"]) == 1
    assert missing in capsys.readouterr().err


@pytest.mark.promise("candle-vllm.flags.queue-size", "candle-vllm.flags.request-timeout")
def test_the_defaults_are_those_of_the_document() -> None:
    assert (SETTINGS["queue_size"].default, SETTINGS["request_timeout"].default) == (10, 30)
