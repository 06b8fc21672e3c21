"""The engine of a model on the hub: decided by the list of its files, before any of them is transferred."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelhost.config.settings import Settings
from modelhost.engines.llamacpp.record import BuildRecord
from modelhost.errors import ConfigError, EngineMissing
from modelhost.models.resolve.finding import find_with_progress, pull
from modelhost.models.resolve.locate import single_entry
from modelhost.models.resolve.resolved import Resolved
from tests.support.engine_environments import pretend_built, pretend_installed
from tests.support.gguf_files import write_model
from tests.support.hub import HubServer, Repository, hub_of_this_process

NANO_HF = Path(__file__).parents[3] / "assets" / "nano-hf"
MODEL = "somebody/nano"
LAUNCH = {"tensor_parallel_size": 2, "dtype": "half"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with the model in safetensors, and a machine with no engine but llama.cpp."""
    own = ("xllamacpp",)
    monkeypatch.setattr("modelhost.engines.installed.find_spec", lambda name: name if name in own else None)
    files = {path.name: path.read_bytes() for path in NANO_HF.iterdir() if path.is_file()}
    with hub_of_this_process(monkeypatch, tmp_path / "hub", **{MODEL: Repository(files=files)}) as server:
        yield server


async def _found(tmp_path: Path, launch: dict[str, Any] | None = None, **settings: Any) -> Resolved:
    given = Settings.model_validate({"model": MODEL, "data_dir": str(tmp_path / "data"), "threads": 1, **settings})
    return await find_with_progress(single_entry(given, launch=launch or {}), None)


async def test_what_nothing_here_runs_is_not_downloaded(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match=r"^somebody/nano: safetensors need an engine.*modelhost engines install"):
        await _found(tmp_path)
    with pytest.raises(ConfigError, match=r"^somebody/nano is in safetensors, which llama\.cpp does not read"):
        await _found(tmp_path, engine="llamacpp")
    with pytest.raises(EngineMissing, match="the engine vllm is not installed"):
        await _found(tmp_path, engine="vllm")
    settings = Settings(data_dir=str(tmp_path / "data"))
    with pytest.raises(EngineMissing, match="safetensors need an engine"):
        await pull(MODEL, settings, revision=None, on_progress=lambda _: None)
    assert hub.bytes_served == 0


async def test_an_engine_in_its_environment_gets_the_launch_parameters(hub: HubServer, tmp_path: Path) -> None:
    python = pretend_installed(tmp_path / "data", "vllm")
    with capture_logs() as logged:
        found = await _found(tmp_path, LAUNCH)
    assert hub.bytes_served > 0
    assert (found.engine.name, found.spec.python) == ("vllm", str(python))
    assert found.spec.options == {"tensor_parallel_size": 2, "dtype": "float16"}
    (told,) = [each for each in logged if each["event"] == "engine_is_second_choice"]
    assert (told["engine"], told["better"]) == ("vllm", "transformers")
    assert told["way_out"] == "pip install 'modelhost[transformers]'"
    named = await _found(tmp_path, LAUNCH, engine="vllm", engine_options={"dtype": "float32"})
    assert named.spec.options == {"tensor_parallel_size": 2, "dtype": "float32"}


@pytest.mark.promise("vllm-mcp.variables.tensor-parallel")
async def test_launch_parameters_that_mean_nothing_to_the_engine_are_told(hub: HubServer, tmp_path: Path) -> None:
    gguf = write_model(tmp_path / "a.gguf").read_bytes()
    hub.repositories[MODEL] = Repository(files={"a.gguf": gguf})
    with capture_logs() as logged:
        found = await _found(tmp_path, LAUNCH)
    assert (found.engine.name, found.spec.options) == ("llamacpp", {})
    remarks = [line["remark"] for line in logged if line["event"] == "launch_parameter"]
    assert [name in remark for name, remark in zip(LAUNCH, remarks, strict=True)] == [True, True]


async def test_a_default_that_the_engine_lacks_is_refused_before_the_download(hub: HubServer, tmp_path: Path) -> None:
    pretend_installed(tmp_path / "data", "vllm")
    with pytest.raises(ConfigError, match=r'^somebody/nano: request default "min_tokens_to_keep": vllm has no such'):
        await _found(tmp_path, request_defaults={"min_tokens_to_keep": 2})
    assert hub.bytes_served == 0
    assert (await _found(tmp_path, request_defaults={"min_tokens_to_keep": 1})).engine.name == "vllm"


async def test_a_build_for_another_version_is_told_of_and_not_used(hub: HubServer, tmp_path: Path) -> None:
    hub.repositories[MODEL] = Repository(files={"a.gguf": write_model(tmp_path / "a.gguf").read_bytes()})
    pretend_built(tmp_path / "data", BuildRecord(version="2020.1", build="native"))
    with capture_logs() as logged:
        found = await _found(tmp_path)
    assert found.spec.python is None
    (told,) = [line for line in logged if line["event"] == "engine_build_unused"]
    assert told["why"].startswith("it is version 2020.1, and this modelhost is made for 20")
    assert told["way_out"] == "modelhost engines install llamacpp"
