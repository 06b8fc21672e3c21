"""Which ``llama-server`` runs a model: by its options, by the environment, or none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from modelhost.cli.engines.advice import engines_here
from modelhost.config.environment import SERVER_VARIABLE
from modelhost.config.settings import Settings
from modelhost.engines import ENGINES
from modelhost.engines.installed import engine_facts
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.installation import server_uses_gpus, with_packaged_server, with_server
from modelhost.engines.llamacpp.record import locked_version
from modelhost.engines.traits import BetterBuild
from modelhost.errors import ConfigError
from modelhost.models.resolve import runtime
from modelhost.models.resolve.finding import find_with_progress
from modelhost.models.resolve.locate import single_entry
from modelhost.models.resolve.resolved import Resolved
from tests.support.llama_server_stub import write_llama_server
from tests.support.recorded_gpus import UNEQUAL

GPU = "Available devices:\n  CUDA0: NVIDIA H200 (143156 MiB, 142601 MiB free)\n"


def write_package(folder: Path) -> str:
    """Write an installed package ``modelhost-llamacpp`` with a stub as its program; return the program's path."""
    (folder / "modelhost_llamacpp" / "bin").mkdir(parents=True)
    (folder / "modelhost_llamacpp" / "__init__.py").touch()
    metadata = folder / "modelhost_llamacpp-1.2.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: modelhost-llamacpp\nVersion: 1.2\n")
    return write_llama_server(folder / "modelhost_llamacpp" / "bin")


@pytest.fixture(autouse=True)
def _none_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)


def test_without_a_word_about_it_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_server({"mmap": False}) == {"mmap": False}
    monkeypatch.setenv(SERVER_VARIABLE, " ")
    assert with_server({}) == {}


def test_the_option_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    named, other = write_llama_server(tmp_path), write_llama_server(tmp_path / "other")
    monkeypatch.setenv(SERVER_VARIABLE, named)
    assert with_server({"mmap": False}) == {"mmap": False, "server": named}
    assert with_server({"server": other}) == {"server": other}
    assert with_server({"server": ""}) == {"server": ""}
    assert with_server({"server": None}) == {"server": None}


def test_a_package_has_the_program_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_package(tmp_path)
    assert with_packaged_server({}) == {}
    monkeypatch.syspath_prepend(str(tmp_path))
    assert with_packaged_server({"mmap": False}) == {"mmap": False, "server": program}
    assert with_packaged_server({"server": ""}) == {"server": ""}
    settings = Settings(data_dir=str(tmp_path / "data"))
    assert runtime.Runtime.of(ENGINES["llamacpp"], settings).options == {"server": program}
    declined = Settings(data_dir=str(tmp_path / "data"), engine_options={"server": ""})
    assert runtime.Runtime.of(ENGINES["llamacpp"], declined).options == {"server": ""}


def test_a_build_for_the_machine_wins_over_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    python = tmp_path / "data" / "python"
    monkeypatch.setattr(runtime.installed, "environment_of", lambda *_: python)
    found = runtime.Runtime.of(ENGINES["llamacpp"], Settings(data_dir=str(tmp_path / "data")))
    assert (found.options, found.python) == ({}, str(python))


def test_the_package_is_listed_and_no_native_build_is_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    better = BetterBuild(engine="llama.cpp", build="native", reason="", gain="", command="")
    monkeypatch.setattr("modelhost.engines.llamacpp.machine.better_build", lambda *_: better)
    (listed,) = [each for each in engines_here(tmp_path) if each.name == "llamacpp"]
    assert (listed.version, listed.build, listed.location) == ("1.2", "packaged", program)
    assert listed.remark is None


def test_the_package_is_of_the_locked_revision() -> None:
    recipe = Path(__file__).parents[4] / "packaging" / "llamacpp" / "modelhost_llamacpp" / "__init__.py"
    assert f'__version__: Final = "{locked_version()}"' in recipe.read_text()


def test_a_name_is_looked_for_on_the_path_and_a_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_llama_server(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert with_server({"server": "llama-server"}) == {"server": program}
    assert with_server({"server": "~/llama-server"}) == {"server": program}
    monkeypatch.chdir(tmp_path)
    assert with_server({"server": "./llama-server"}) == {"server": program}


@pytest.mark.parametrize(
    ("named", "refusal"),
    [
        ("llama-servr", r'engine option "server": there is no program "llama-servr" on the PATH; name its whole path'),
        ("/nowhere/llama-server", 'engine option "server": there is no /nowhere/llama-server'),
        ("{folder}", r'engine option "server": \S+ is a folder; name the program in it: \S+/llama-server'),
        ("{folder}/text", r'engine option "server": \S+/text is not executable; if it is a llama-server: chmod \+x'),
        (["a"], r"engine option \"server\" takes the path of a llama-server, not \['a'\]"),
    ],
)
def test_what_is_no_program_is_refused_by_name(named: Any, refusal: str, tmp_path: Path) -> None:
    (tmp_path / "text").touch()
    name = named.replace("{folder}", str(tmp_path)) if isinstance(named, str) else named
    with pytest.raises(ConfigError, match=f"^{refusal}"):
        with_server({"server": name})


def test_a_program_of_the_environment_that_is_none_is_named_by_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, "/nowhere/llama-server")
    with pytest.raises(ConfigError, match=r"^LLAMA_SERVER: there is no /nowhere/llama-server$"):
        with_server({})


def test_other_engines_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_llama_server(tmp_path)
    monkeypatch.setenv(SERVER_VARIABLE, program)
    assert ENGINES["transformers"].complete_options({}) == {}
    assert ENGINES["llamacpp"].complete_options({}) == {"server": program}


def test_a_model_with_a_server_is_started_by_another_worker() -> None:
    def launched(**options: Any) -> tuple[str, str | None]:
        launch = LlamaCpp().launch(ModelSpec(name="m", path=Path("/m.gguf"), options=options), "secret")
        return launch.argv[-1], launch.env.get("LLAMA_API_KEY")

    assert launched(server="/bin/llama-server") == ("modelhost.engines.llamacpp.server_worker", "secret")
    assert launched() == launched(server="") == ("modelhost.engines.llamacpp.worker", None)


async def found(**settings: Any) -> Resolved:
    return await find_with_progress(single_entry(Settings.model_validate({"threads": 1, **settings})), None)


async def test_a_model_gets_the_server_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_llama_server(tmp_path)
    monkeypatch.setenv(SERVER_VARIABLE, program)
    assert (await found()).spec.options == {"server": program}
    assert (await found(engine_options={"server": ""})).spec.options == {"server": ""}
    with pytest.raises(ConfigError, match="there is no program"):
        await found(engine_options={"server": "llama-servr"})


async def test_the_server_is_asked_for_its_gpus_in_place_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").mkdir()
    on_gpu, on_cpu = write_llama_server(tmp_path, devices=GPU), write_llama_server(tmp_path / "cpu")
    assert server_uses_gpus(on_gpu, {})
    assert not server_uses_gpus(on_cpu, {})
    monkeypatch.setattr(runtime, "has_driver", lambda: True)
    monkeypatch.setattr(runtime, "gpus", lambda: UNEQUAL[:1])
    assert (await found(engine_options={"server": on_gpu})).gpus == (0,)
    assert (await found(engine_options={"server": on_cpu})).gpus == ()


def test_what_cannot_list_its_devices_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "text"
    program.write_text("no program")
    program.chmod(0o755)
    with pytest.raises(ConfigError, match=r'^engine option "server": \S+/text cannot be started: Exec format error'):
        server_uses_gpus(str(program), {})


def test_the_list_of_engines_shows_the_program_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_llama_server(tmp_path)
    monkeypatch.setenv(SERVER_VARIABLE, program)
    facts = {each.name: each for each in engine_facts()}["llamacpp"]
    assert (facts.is_installed, facts.version, facts.location) == (
        True,
        "llama-server 0.6.0-dev (build 11549, commit 6f3ab12)",
        program,
    )
    monkeypatch.setenv(SERVER_VARIABLE, sys.executable)
    facts = {each.name: each for each in engine_facts()}["llamacpp"]
    assert (facts.is_installed, facts.version) == (False, None)
    assert facts.why_not is not None
    assert facts.why_not.startswith(f"LLAMA_SERVER: {sys.executable} is no llama-server")
