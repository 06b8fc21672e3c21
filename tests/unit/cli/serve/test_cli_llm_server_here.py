"""``modelhost serve`` in a folder with a ``config.json`` of LLM-Server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelhost.cli.main import main
from modelhost.cli.serve.flags import has_llm_server_file

CONFIG: dict[str, Any] = {
    "model name": "org/of-llm-server",
    "listening port": 8123,
    "servers": {},
    "system prompt": "",
    "temperature": 0.7,
    "top_p": 0.9,
    "min_p": 0.05,
    "min_tokens_to_keep": 1,
    "log level": "error",
    "log filename": "server.log",
}


@pytest.fixture(autouse=True)
def _config() -> None:
    write(CONFIG)


def write(document: object) -> None:
    Path("config.json").write_text(document if isinstance(document, str) else json.dumps(document))


def shown(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[str | None, str]:
    """The model that would be served, and what was said besides."""
    assert main(["config", "show", *args, "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out)["settings"]["model"]["value"], said.err


@pytest.mark.promise("llm-server.config.folder")
def test_it_is_used_and_the_first_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    model, said = shown(capsys)
    assert model == "org/of-llm-server"
    assert said.splitlines()[0] == "config.json of LLM-Server is here and is used (--no-llm-server: do without it)"
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out.startswith("OK: config.json")


def test_it_is_not_used_if_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--no-llm-server") == (None, "")


def test_it_is_used_without_a_word_if_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--llm-server", "--port", "1") == ("org/of-llm-server", "")


@pytest.mark.parametrize("args", [["org/name"], ["--m", "org/name"], ["--w", "."]], ids=" ".join)
def test_a_model_that_is_named_is_served_instead(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    model, said = shown(capsys, *args)
    assert (model, said) == (args[-1], "")


def test_a_setting_on_the_command_line_leaves_it_alone_and_says_how_to_use_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, said = shown(capsys, "--port", "1")
    assert model is None
    assert said == "config.json of LLM-Server is here and is not used, since --port is given (--llm-server: use it)\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MODELHOST_MODEL", "MODELHOST_MODEL is set"),
        ("MODELHOST_CONFIG", "MODELHOST_CONFIG is set"),
        ("CANDLE_VLLM_MODELS_CONFIG", "CANDLE_VLLM_MODELS_CONFIG is set"),
    ],
)
def test_a_model_or_a_file_of_the_environment_comes_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    Path("of.yaml").write_text("")
    monkeypatch.setenv(name, "of.yaml")
    model, said = shown(capsys)
    assert model != "org/of-llm-server"
    assert reason in said


@pytest.mark.parametrize("name", ["modelhost.yaml", "models.yaml"])
def test_a_file_of_ours_comes_first(capsys: pytest.CaptureFixture[str], name: str) -> None:
    Path(name).write_text("")
    model, said = shown(capsys)
    assert model is None
    assert f"since {name} is here" in said


def test_other_variables_win_over_it_as_over_any_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELHOST_PORT", "9000")
    assert main(["config", "show", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["model"]["value"], settings["port"]["value"]) == ("org/of-llm-server", 9000)


def test_one_that_is_not_complete_is_refused_and_not_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    write({key: value for key, value in CONFIG.items() if key != "listening port"})
    assert main(["config", "show"]) == 1
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("config.json of LLM-Server is here and is used")
    assert error == 'error: config.json: "listening port" is missing'


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (CONFIG, True),
        ({key.replace(" ", "_"): value for key, value in CONFIG.items()}, True),
        (json.dumps(CONFIG, indent=2) + ",", True),
        ("{model_name: 'x', listening_port: 1, // JSON5\n}", True),
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "model_name": "llama"}, False),
        ({"temperature": 0.7, "top_p": 0.9}, False),
        ([], False),
        ("", False),
    ],
)
def test_such_a_file_is_known_by_its_keys_though_it_be_broken(document: object, *, expected: bool) -> None:
    write(document)
    assert has_llm_server_file(Path()) is expected


def test_a_folder_of_that_name_is_none() -> None:
    Path("config.json").unlink()
    assert not has_llm_server_file(Path())
    Path("config.json").mkdir()
    assert not has_llm_server_file(Path())
