"""Command lines of mistral.rs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelhost.cli.main import app, main
from modelhost.cli.serve.flags import with_quantization
from modelhost.cli.serve.mistralrs import gguf_model, plain_model
from modelhost.errors import ConfigError
from tests.support.fake_serving import FakeServer


@pytest.mark.promise("mistralrs.run.gguf", "mistralrs.run.plain", "mistralrs.run.run")
def test_the_lines_of_its_manual_serve(server: FakeServer) -> None:
    assert main(["--port", "1234", "gguf", "-m", "/path", "-f", "model.gguf"]) == 0
    assert main(["--port", "1234", "--mcp-config", "mcp.json", "gguf", "-m", "/path", "-f", "model.gguf"]) == 0
    assert main(["--mcp-port", "4321", "plain", "-m", "Qwen/Qwen3-4B"]) == 0
    assert main(["run", "-m", "org/name"]) == 0
    found = [(each.model, each.port, each.mcp_port, each.mcp_config) for each in server.served]
    assert found == [
        ("/path/model.gguf", 1234, None, None),
        ("/path/model.gguf", 1234, None, "mcp.json"),
        ("Qwen/Qwen3-4B:safetensors", 8000, 4321, None),
        ("org/name", 8000, None, None),
    ]


def test_options_stand_before_the_word_or_after_it(server: FakeServer) -> None:
    assert main(["--slots=2", "run", "-m", "org/name", "--port", "1"]) == 0
    assert main(["run", "--slots", "2", "--port", "1", "-m", "org/name"]) == 0
    assert server.served[0] == server.served[1]
    assert (server.served[0].slots, server.served[0].port) == (2, 1)


@pytest.mark.parametrize(
    ("model", "file", "expected"),
    [
        ("/models", "a.gguf", "/models/a.gguf"),
        ("models/", "a.gguf", "models/a.gguf"),
        ("here/dir", "a.gguf", "here/dir/a.gguf"),
        ("./org/name", "a.gguf", "./org/name/a.gguf"),
        ("org/name", "a.gguf", "org/name:a.gguf"),
        ("org/name", "sub/a.gguf", "org/name:sub/a.gguf"),
        ("org/name", None, "org/name"),
    ],
)
def test_a_gguf_file_is_in_a_directory_here_or_in_a_repository(model: str, file: str | None, expected: str) -> None:
    Path("here/dir").mkdir(parents=True)
    assert gguf_model(model, file) == expected


@pytest.mark.parametrize(
    ("model", "expected"), [("org/name", "org/name:safetensors"), ("here/dir", "here/dir"), ("/models/x", "/models/x")]
)
def test_a_plain_model_of_a_repository_is_that_in_safetensors(model: str, expected: str) -> None:
    Path("here/dir").mkdir(parents=True)
    assert plain_model(model) == expected


@pytest.mark.promise("mistralrs.models.quantization")
@pytest.mark.parametrize(
    "args", [["--isq", "Q4K", "plain", "-m", "org/name"], ["plain", "-m", "org/name", "--quant=Q4K"]]
)
def test_isq_and_quant_are_the_engine_option_that_chooses_mistral_rs(server: FakeServer, args: list[str]) -> None:
    assert main(args) == 0
    (settings,) = server.served
    assert (settings.engine, settings.engine_options) == (None, {"isq": "Q4K"})


def test_the_engine_that_the_environment_names_decides_what_quant_means(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELHOST_ENGINE", "vllm")
    assert main(["run", "-m", "org/name", "--quant", "awq", "--engine-option", "dtype=half"]) == 0
    assert server.served[0].engine_options == {"dtype": "half", "quantization": "awq"}


@pytest.mark.parametrize("engine", ["llamacpp", "transformers", "mlx", "remote", "scripted"])
def test_an_engine_that_takes_weights_as_they_are_is_refused_with_the_way_out(engine: str) -> None:
    with pytest.raises(ConfigError, match=r"leave the engine out, so that mistral\.rs quantizes") as caught:
        with_quantization("Q4K", engine, None)
    assert f"--isq Q4K: {engine}" in caught.value.message


def test_the_format_is_given_once() -> None:
    assert with_quantization("8", None, ["dtype=float32"]) == ["dtype=float32", "isq=8"]
    with pytest.raises(ConfigError, match="two names of one"):
        with_quantization("8", "mistralrs", ["isq=4"])


@pytest.mark.promise("mistralrs.run.speech")
def test_a_model_that_speaks_is_served(server: FakeServer) -> None:
    assert main(["--port", "1234", "speech", "-m", "hibari"]) == 0
    (served,) = server.served
    assert (served.model, served.port) == ("hibari", 1234)


@pytest.mark.promise("mistralrs.run.diffusion")
@pytest.mark.parametrize("arch", [[], ["-a", "flux"]])
def test_a_model_that_makes_images_is_served(arch: list[str], server: FakeServer) -> None:
    assert main(["--port", "1234", "diffusion", "-m", "dir", *arch]) == 0
    (served,) = server.served
    assert (served.model, served.port) == ("dir", 1234)


def test_offloading_is_an_option_of_the_engine(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diffusion", "-m", "dir", "-a", "flux-offloaded"]) == 1
    assert "--engine-option offload=sequential" in capsys.readouterr().err
    assert server.served == []


@pytest.mark.parametrize("word", ["run", "plain", "gguf", "speech", "diffusion"])
def test_each_has_help_with_examples_and_wants_a_model(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert "--mcp-port" in shown
    assert main([word]) == 2
    assert "Missing option '-m'" in capsys.readouterr().err


@pytest.mark.promise("mistralrs.run.interactive")
@pytest.mark.parametrize(
    "args", [["-i", "gguf", "-m", "dir", "-f", "a.gguf"], ["serve", "dir/a.gguf", "--interactive"]]
)
def test_interactive_talks_with_the_model_and_serves_nobody(server: FakeServer, own_llm: Any, args: list[str]) -> None:
    result = CliRunner().invoke(app, args, input="One?\n/quit\n")
    assert (result.exit_code, result.stdout) == (0, "Own words.\n"), result.output
    (settings,) = own_llm.configured
    assert (own_llm.started, own_llm.stopped) == (["dir/a.gguf"], ["dir/a.gguf"])
    assert settings == {}
    assert server.served == []


@pytest.mark.promise("mistralrs.run.run")
def test_settings_of_the_model_hold_in_a_talk_and_those_of_listening_are_told_to_be_idle(own_llm: Any) -> None:
    args = ["-i", "--port", "1234", "--context-length", "512", "--system-prompt", "Be brief.", "run", "-m", "a.gguf"]
    result = CliRunner().invoke(app, args, input="One?\n")
    assert result.exit_code == 0, result.output
    assert "--port: no effect with -i" in result.stderr
    (settings,) = own_llm.configured
    assert settings["context_length"] == 512
    ((messages, _),) = own_llm.asked
    assert messages[0] == {"role": "system", "content": "Be brief."}


def test_the_help_of_the_program_does_not_import_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    commands = capsys.readouterr().out.partition("Commands")[2]
    assert "serve" in commands
    assert "diffusion" not in commands
