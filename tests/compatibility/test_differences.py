"""What the host does in another way than a document says, where no other test shows it."""

from __future__ import annotations

import json
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from modelhost.cli.main import main
from modelhost.config.sources import load


@pytest.mark.promise("candle-vllm.cli.model")
@pytest.mark.parametrize("argv", [["--m", "org/name", "--p", "2000"], ["--w", ".", "--p", "2000"]], ids=" ".join)
def test_options_of_serve_stand_behind_it(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.promise("mistralrs.run.gguf", "mistralrs.run.plain", "mistralrs.run.run")
@pytest.mark.parametrize(
    "argv", [["gguf", "-m", ".", "-f", "x.gguf"], ["plain", "-m", "org/name"], ["run"]], ids=" ".join
)
def test_commands_of_mistralrs_are_unknown(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "No such command" in capsys.readouterr().err


@pytest.mark.promise("candle-vllm.variables.dotenv")
def test_no_setting_comes_from_a_dotenv_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MODELHOST_PORT=1234\n", "utf-8")
    assert load({}, config_path=None, environ={}, cwd=tmp_path).origins["port"].kind == "default"


@pytest.mark.promise("candle-vllm.variables.rust-log")
def test_the_log_level_of_rust_programs_is_not_read(tmp_path: Path) -> None:
    effective = load({}, config_path=None, environ={"RUST_LOG": "debug"}, cwd=tmp_path)
    assert effective.settings.log_level == "info"


@pytest.mark.promise("llm-server.config.folder")
def test_a_config_json_is_not_taken_without_being_asked_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model name": "org/name", "listening port": 1234}), "utf-8")
    assert load({}, config_path=None, environ={}, cwd=tmp_path).origins["port"].kind == "default"


@pytest.mark.promise("vllm-mcp.python")
def test_python_3_11_is_the_oldest() -> None:
    versions = SpecifierSet(metadata("modelhost")["Requires-Python"])
    assert (versions.contains("3.9"), versions.contains("3.11")) == (False, True)


@pytest.mark.promise("mistralrs.windows")
def test_windows_is_no_platform_of_the_package() -> None:
    platforms = [
        each for each in metadata("modelhost").get_all("Classifier") or () if each.startswith("Operating System")
    ]
    assert platforms == ["Operating System :: MacOS", "Operating System :: POSIX :: Linux"]
