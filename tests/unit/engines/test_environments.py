"""Environments of engines: made, remembered, found; and workers started in them."""

from __future__ import annotations

import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from modelhost.config.settings import Settings
from modelhost.engines import ENGINES, TRAITS, installed
from modelhost.engines.environments import FINISHED, Recipe, install, python_of, run_step, version_of
from modelhost.engines.installed import recipe_for, with_environment
from modelhost.engines.worker.foreign_start import command
from modelhost.errors import EngineMissing
from modelhost.models.resolve.engine_choice import engine_for
from modelhost.models.resolve.locate import locate
from modelhost.models.resolve.runtime import Runtime
from tests.support.engine_environments import pretend_installed
from tests.support.eventually import eventually
from tests.support.processes import Family, family

NANO_HF = Path(__file__).parents[2] / "assets" / "nano-hf"


def _wheel(folder: Path, name: str, version: str, code: str) -> str:
    """Write a wheel with one module; pip needs nothing else to install it."""
    folder.mkdir(exist_ok=True)
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return str(folder / f"{name}-{version}-py3-none-any.whl")


def test_an_environment_is_made_unless_a_package_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    engine = _wheel(tmp_path / "wheels", "engine", "1.5", "import helper")
    helper = _wheel(tmp_path / "wheels", "helper", "1", "")
    recipe = Recipe(distribution="engine", installs=((helper,), (engine,)), module="engine")
    said: list[str] = []
    python = install("mistralrs", tmp_path / "data", recipe, said.append)
    assert any("engine" in line for line in said)
    assert python == python_of("mistralrs", tmp_path / "data")
    assert version_of("mistralrs", tmp_path / "data") == "1.5"
    assert subprocess.run([python, "-c", "import engine"], check=False).returncode == 0
    lock = tmp_path / "lock.txt"
    lock.write_text(f"{helper} --hash=sha256:{'0' * 64}\n")
    other = Recipe(distribution="engine", installs=(("--require-hashes", "--requirement", str(lock)),), module="helper")
    with pytest.raises(EngineMissing, match=r"mistralrs could not be installed: .*[0-9a-f]{64}"):
        install("mistralrs", tmp_path / "data", other, said.append)
    assert python_of("mistralrs", tmp_path / "data") is None
    assert version_of("mistralrs", tmp_path / "data") is None


COMPILER = "print('compiling', flush=True); import threading; threading.Event().wait()"
NINJA = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {COMPILER!r}], process_group=0)"
INSTALLATION = f"""
import sys
from modelhost.engines.environments import run_step
run_step("llamacpp", (sys.executable, "-c", {NINJA!r}), lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_an_installation_has_started_ends_with_it(number: signal.Signals) -> None:
    with family(Family([sys.executable, "-c", INSTALLATION])) as started:
        assert started.process.stdout is not None
        assert started.process.stdout.readline() == "compiling\n"
        started.process.send_signal(number)  # to this process alone, not to its group
        eventually(started.is_gone)


def test_a_step_that_fails_or_cannot_be_started_says_why() -> None:
    said: list[str] = []
    run_step("vllm", (sys.executable, "-c", "print('first'); print('last')"), said.append)
    assert said == ["first", "last"]
    with pytest.raises(EngineMissing, match=r"vllm could not be installed: last$"):
        run_step("vllm", (sys.executable, "-c", "print('last'); raise SystemExit(3)"), said.append)
    with pytest.raises(EngineMissing, match=r"vllm could not be installed: false ended with 1$"):
        run_step("vllm", ("false",), said.append)
    with pytest.raises(EngineMissing, match=r"could not be installed: .*No such file or directory: '/none/program'"):
        run_step("vllm", ("/none/program",), said.append)


@pytest.mark.parametrize("engine", with_environment())
@pytest.mark.parametrize("has_cuda", [False, True])
def test_an_environment_gets_exact_versions_with_hashes(engine: str, has_cuda: bool) -> None:
    recipe = recipe_for(engine, has_cuda=has_cuda)
    *_, arguments = recipe.installs
    assert "--require-hashes" in arguments
    lines = Path(arguments[-1]).read_text().splitlines()
    versions = [line.split(" ")[0] for line in lines if line and not line.startswith((" ", "#"))]
    assert any(version.startswith(f"{recipe.distribution}==") for version in versions)
    assert all("==" in version for version in versions)


def test_each_has_a_recipe_for_this_machine() -> None:
    assert recipe_for("mistralrs", has_cuda=True) is recipe_for("mistralrs", has_cuda=False)
    assert recipe_for("vllm", has_cuda=True) != recipe_for("vllm", has_cuda=False)


@pytest.mark.parametrize("engine", with_environment())
def test_an_engine_in_its_environment_is_installed(tmp_path: Path, engine: str) -> None:
    facts = {each.name: each for each in installed.engine_facts(tmp_path)}[engine]
    assert not facts.is_installed
    assert facts.why_not is not None
    assert facts.why_not.endswith(f"modelhost engines install {engine}")
    python = pretend_installed(tmp_path, engine)
    facts = {each.name: each for each in installed.engine_facts(tmp_path)}[engine]
    assert (facts.is_installed, facts.version, facts.location) == (True, "9.9", str(python.parents[1]))
    assert not installed.is_installed(engine)


@pytest.mark.parametrize("engine", with_environment())
@pytest.mark.parametrize(
    "written", ['{"version": "9.9"', "null", "[1]", "{}", '{"version": 9.9}', "\x00", "[" * 100_000]
)
def test_a_damaged_record_leaves_the_engine_uninstalled(tmp_path: Path, engine: str, written: str) -> None:
    record = pretend_installed(tmp_path, engine).parents[1] / FINISHED
    record.write_text(written)
    assert version_of(engine, tmp_path) is None
    facts = {each.name: each for each in installed.engine_facts(tmp_path)}[engine]
    assert (facts.is_installed, facts.version) == (False, None)
    assert facts.why_not == f"{record} is damaged: modelhost engines install {engine}"
    assert not installed.is_installed(engine, tmp_path)
    if "safetensors" not in TRAITS[engine].formats:
        return
    settings = Settings.model_validate({"model": str(NANO_HF), "engine": engine, "data_dir": str(tmp_path)})
    with pytest.raises(EngineMissing, match=rf"is not installed \({record} is damaged\): modelhost engines install"):
        engine_for(locate(settings.model, engine=engine), settings)


def test_a_model_gets_the_python_of_the_environment(tmp_path: Path) -> None:
    settings = Settings.model_validate({"model": str(NANO_HF), "engine": "mistralrs", "data_dir": str(tmp_path)})
    located = locate(settings.model, engine=settings.engine)
    with pytest.raises(EngineMissing, match="modelhost engines install mistralrs"):
        engine_for(located, settings)
    python = pretend_installed(tmp_path, "mistralrs")
    assert engine_for(located, settings) == "mistralrs"
    assert Runtime.of(ENGINES["mistralrs"], settings).python == str(python)
    assert Runtime.of(ENGINES["transformers"], settings).python is None
    told = settings.model_copy(update={"worker_python": "/other/python"})
    assert Runtime.of(ENGINES["mistralrs"], told).python == "/other/python"


def test_quantizing_while_loading_chooses_the_engine_that_can(tmp_path: Path) -> None:
    pretend_installed(tmp_path, "mistralrs")
    settings = Settings.model_validate(
        {"model": str(NANO_HF), "data_dir": str(tmp_path), "engine_options": {"isq": "Q4K"}}
    )
    assert engine_for(locate(settings.model), settings) == "mistralrs"
    gguf = Settings.model_validate({"engine": "mistralrs", "data_dir": str(tmp_path)})
    assert engine_for(locate(None, engine="mistralrs"), gguf) == "mistralrs"


def test_a_python_without_modelhost_runs_our_worker(tmp_path: Path) -> None:
    bare = (sys.executable, "-I", "-S", "-c", "import modelhost")
    assert subprocess.run(bare, capture_output=True, check=False).returncode == 1
    python, *rest = command(sys.executable, "modelhost.engines.llamacpp.worker")
    started = subprocess.run([python, "-I", "-S", *rest], input="", capture_output=True, text=True, check=False)
    assert "JSONDecodeError" in started.stderr  # it has read its configuration, of which there was none
    assert "ModuleNotFoundError" not in started.stderr
