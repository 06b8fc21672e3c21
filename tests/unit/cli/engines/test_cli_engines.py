"""``modelhost engines list``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xllamacpp

from modelhost.cli.main import main
from modelhost.config.environment import SERVER_VARIABLE
from modelhost.engines import ENGINES
from modelhost.engines.environments import FINISHED, PYTHON, Recipe, Report, folder_of
from modelhost.engines.installed import with_environment
from modelhost.engines.llamacpp.machine import Machine, Processor
from tests.support.llama_server_stub import write_llama_server


@pytest.mark.promise("vllm-mcp.trouble.loading")
def test_every_engine_is_listed_with_its_version_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "list", "--json"]) == 0
    engines = {engine["name"]: engine for engine in json.loads(capsys.readouterr().out)}
    assert list(engines) == list(ENGINES)
    assert engines["llamacpp"]["version"] == xllamacpp.__version__
    assert xllamacpp.__file__.startswith(engines["llamacpp"]["location"])
    assert engines["mlx"]["reads"] == engines["transformers"]["reads"] == "safetensors"
    assert engines["llamacpp"]["build"] == "wheel"
    assert all(engine["is_installed"] == (engine["why_not"] is None) for engine in engines.values())
    assert {name for name, engine in engines.items() if not engine["is_installed"]} == set(with_environment())


@pytest.mark.promise("vllm-mcp.install")
def test_an_engine_is_installed_for_the_hosts_of_a_data_directory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def install(engine: str, data_dir: Path, recipe: Recipe, report: Report) -> Path:
        report("Collecting mistralrs (from a place)")
        report("Downloading it")
        folder = folder_of(engine, data_dir)
        (folder / PYTHON).parent.mkdir(parents=True)
        (folder / PYTHON).touch()
        (folder / FINISHED).write_text('{"version": "1.2"}')
        assert recipe.module == engine
        return folder / PYTHON

    monkeypatch.setattr("modelhost.engines.environments.install", install)
    assert main(["engines", "install", "mistralrs", "--data-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == ["  mistralrs", f"mistralrs 1.2 is installed: {tmp_path / 'engines' / 'mistralrs'}"]
    assert main(["engines", "list", "--json", "--data-dir", str(tmp_path)]) == 0
    listed = {engine["name"]: engine for engine in json.loads(capsys.readouterr().out)}
    assert (listed["mistralrs"]["is_installed"], listed["mistralrs"]["version"]) == (True, "1.2")


def test_a_machine_that_could_do_better_is_told_how(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = frozenset({"avx2", "avx512f"})
    machine = Machine(processor=Processor(architecture="x86_64", flags=flags), platform="linux")
    monkeypatch.setattr("modelhost.engines.llamacpp.machine.this_machine", lambda _: machine)
    monkeypatch.setattr("modelhost.engines.llamacpp.machine.features_of", lambda _: ("AVX2",))
    assert main(["engines", "list", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(
        "\nllama.cpp could be faster here: this processor has AVX-512, which this build does not use (measured with "
        "AVX-512: prompts 1.2 to 1.9 times as fast, answers 1.1 times): modelhost engines install llamacpp\n"
    )
    with monkeypatch.context() as with_server:
        with_server.setenv(SERVER_VARIABLE, write_llama_server(tmp_path))
        assert main(["engines", "list", "--data-dir", str(tmp_path)]) == 0
        assert "could be faster" not in capsys.readouterr().out
    monkeypatch.setattr("modelhost.engines.llamacpp.machine.features_of", lambda _: ("AVX2", "AVX512"))
    assert main(["engines", "list", "--data-dir", str(tmp_path)]) == 0
    assert "could be faster" not in capsys.readouterr().out


@pytest.mark.parametrize("option", [("--build", "native"), ("--wheels", "http://127.0.0.1:9"), ("--force",)])
def test_options_of_builds_are_for_what_is_built(
    option: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["engines", "install", "mistralrs", *option, "--data-dir", str(tmp_path)]) == 2
    assert "--build, --wheels and --force are for llamacpp" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )
    assert main(["engines", "install", "llamacpp", "--build", "opencl", "--data-dir", str(tmp_path)]) == 2


def test_an_index_of_wheels_is_a_url(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["engines", "install", "llamacpp", "--build", "cuda", "--data-dir", str(tmp_path)]
    assert main([*command, "--wheels", "notaurl"]) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert '"notaurl" is no URL of an index: it begins with https://, http:// or file:///' in said


def test_an_index_that_has_nothing_for_this_machine_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.build.missing_requirements", lambda *_: ("a compiler (get one)",))
    monkeypatch.setattr("modelhost.cli.engines.installation.cuda_version", lambda: None)
    monkeypatch.setattr("modelhost.engines.llamacpp.build.wheel_index", lambda *_: None)
    command = ["engines", "install", "llamacpp", "--build", "cuda", "--data-dir", str(tmp_path)]
    assert main([*command, "--wheels", "http://127.0.0.1:9/whl"]) == 1
    assert "not looking for a wheel at http://127.0.0.1:9/whl: " in " ".join(capsys.readouterr().err.split())


def test_what_a_build_lacks_is_told_without_a_log_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.build.missing_requirements", lambda *_: ("a compiler (get one)",))
    assert main(["engines", "install", "llamacpp", "--build", "native", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("llama.cpp cannot be built here for want of a compiler (get one).\n")


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("transformers", "lives in the Python of modelhost itself: pip install 'modelhost[transformers]'"),
        ("remote", "remote is built in"),
        ("tensorrt", "tensorrt is no engine; there are llamacpp, mlx, transformers, vllm, mistralrs"),
    ],
)
def test_an_engine_without_an_environment_says_how_it_is_had(
    capsys: pytest.CaptureFixture[str], engine: str, said: str
) -> None:
    assert main(["engines", "install", engine]) == 2
    words = capsys.readouterr().err.replace("│", " ").split()
    assert said in " ".join(words)


def test_an_engine_that_is_not_installed_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("modelhost.engines.installed.find_spec", lambda _: None)
    assert main(["engines", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (mlx,) = [line for line in lines if line.startswith("mlx")]
    assert "not installed" in mlx
    assert "pip install 'modelhost[mlx]'" in mlx
