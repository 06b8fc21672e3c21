"""Models that are computed on the CPU beside a GPU, and those of which that is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.models.resolve import finding, runtime
from modelhost.models.resolve.locate import single_entry
from modelhost.models.resolve.resolve import find_files
from modelhost.models.resolve.resolved import Resolved
from modelhost.models.resolve.runtime import Headroom
from modelhost.workers.gpus import Gpu, InstalledGpu
from tests.support.gguf_files import write_model
from tests.support.recorded_gpus import UNEQUAL

NANO_HF = Path(__file__).parents[3] / "assets" / "nano-hf"
L4 = InstalledGpu(name="NVIDIA L4", build="cuda")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny.gguf")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a GPU, and engines that were built for CPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(runtime, "installed_gpu", lambda: L4)
    monkeypatch.setattr("modelhost.engines.llamacpp.engine.library_uses_gpus", lambda _python: False)
    for engine in ("transformers", "vllm"):
        monkeypatch.setattr(f"modelhost.engines.{engine}.engine.torch_uses_gpus", lambda _python: False)


def _found(model: Path, headroom: Headroom | None = None, **settings: Any) -> Resolved:
    given = Settings.model_validate({"model": str(model), "threads": 1, **settings})
    return finding.resolve_found(single_entry(given), find_files(given), headroom)[0]


def _remarks(model: Path, **settings: Any) -> tuple[str, ...]:
    given = Settings.model_validate({"model": str(model), "threads": 1, **settings})
    return finding.resolve_found(single_entry(given), find_files(given))[1]


def test_the_gpu_is_named_with_the_command_that_brings_its_build(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unused = _found(model).unused_gpu
    assert unused is not None
    line = unused.line("tiny")
    assert line == (
        "NVIDIA L4 is not used: llamacpp is installed in a build for CPUs, on which tiny runs. "
        "To use the GPU: modelhost engines install llamacpp --build cuda"
    )
    monkeypatch.setattr(runtime, "installed_gpu", lambda: InstalledGpu(name="W7900", build="hip"))
    hip = _found(model).unused_gpu
    assert hip is not None
    assert hip.way_out.endswith("--build hip")


def test_who_brings_a_llama_server_needs_another_one(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.engine.server_uses_gpus", lambda _path, _env: False)
    unused = _found(model, engine_options={"server": "/bin/true"}).unused_gpu
    assert unused is not None
    assert unused.way_out == "name a llama-server that is built for cuda, which /bin/true is not"


@pytest.mark.parametrize(
    "settings",
    [
        {"gpu_layers": 0},
        {"worker_env": {"CUDA_VISIBLE_DEVICES": ""}},
        {"worker_env": {"CUDA_VISIBLE_DEVICES": "-1"}},
        {"engine": "scripted"},
    ],
)
def test_who_wants_the_cpu_is_told_nothing(model: Path, settings: dict[str, Any]) -> None:
    assert _found(model, **settings).unused_gpu is None


def test_gpus_that_the_environment_hides_are_not_wanted(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _found(model).unused_gpu is None
    shown = _found(model, worker_env={"CUDA_VISIBLE_DEVICES": "0"}).unused_gpu
    assert shown is not None


def test_an_engine_that_uses_the_gpu_and_a_machine_without_one_have_nothing_to_tell(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.engine.library_uses_gpus", lambda _python: True)
    assert _found(model).unused_gpu is None
    monkeypatch.setattr("modelhost.engines.llamacpp.engine.library_uses_gpus", lambda _python: False)
    monkeypatch.setattr(runtime, "installed_gpu", lambda: None)
    assert _found(model).unused_gpu is None


@pytest.mark.parametrize(("layers", "finds_gpus"), [(None, False), (0, False), (10, True)])
def test_layers_that_are_where_they_were_wanted_need_no_remark(
    model: Path, monkeypatch: pytest.MonkeyPatch, layers: int | None, *, finds_gpus: bool
) -> None:
    monkeypatch.setattr(runtime, "installed_gpu", lambda: None)
    monkeypatch.setattr("modelhost.engines.llamacpp.engine.library_uses_gpus", lambda _python: finds_gpus)
    assert _remarks(model, gpu_layers=layers) == ()


def test_layers_wanted_on_a_gpu_that_is_not_there_are_told_of(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _remarks(model, gpu_layers=10) == ()  # the GPU that it could be on is named
    monkeypatch.setattr(runtime, "installed_gpu", lambda: None)
    assert _remarks(model, gpu_layers=10) == ("gpu_layers: 10 has no effect, since llamacpp finds no GPU",)


def test_a_pytorch_for_cpus_is_told_of_beside_a_gpu_of_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"engine": "transformers", "worker_python": "/opt/python"}
    unused = _found(NANO_HF, **given).unused_gpu
    assert unused is not None
    assert (unused.engine, unused.way_out) == ("transformers", "pip install --force-reinstall torch")
    assert _found(NANO_HF, **given, engine_options={"device": "cpu"}).unused_gpu is None
    monkeypatch.setattr(runtime, "installed_gpu", lambda: InstalledGpu(name="W7900", build="hip"))
    assert _found(NANO_HF, **given).unused_gpu is None


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> tuple[Gpu, ...]:
    """A machine with two GPUs that llama.cpp uses."""
    monkeypatch.setattr("modelhost.engines.llamacpp.engine.library_uses_gpus", lambda _python: True)
    monkeypatch.setattr(runtime, "has_driver", lambda: True)
    monkeypatch.setattr(runtime, "gpus", lambda: UNEQUAL)
    return UNEQUAL


@pytest.mark.usefixtures("gpus")
def test_a_model_goes_to_the_gpus_that_are_seen_within_the_room_that_there_is(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = _found(model)
    assert both.spec.gpu_layers == sum(both.spec.gpu_split) == 3
    assert set(both.need_bytes) == {"ram", "gpu:0", "gpu:1"}
    full = _found(model, Headroom(limits={"gpu:0": 0, "gpu:1": 10**9}))
    assert full.spec.gpu_split == (0, 3)
    config = full.engine.launch(full.spec, "key")
    assert (config.config["gpu_layers"], config.config["tensor_split"]) == (3, [3])
    assert config.env["CUDA_VISIBLE_DEVICES"] == "1"
    nothing = _found(model, Headroom(limits={"gpu:0": 0, "gpu:1": 0}))
    assert (nothing.spec.gpu_layers, set(nothing.need_bytes)) == (0, {"ram"})
    assert nothing.engine.launch(nothing.spec, "key").env["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert _found(model).spec.gpus == (1,)


@pytest.mark.usefixtures("gpus")
def test_options_say_over_how_many_gpus_a_model_is_split(model: Path) -> None:
    one = _found(model, worker_env={"CUDA_VISIBLE_DEVICES": "1"})
    assert set(one.need_bytes) == {"ram", "gpu:1"}
    rows = _found(model, engine_options={"tensor_parallel_size": 2})
    launch = rows.engine.launch(rows.spec, "key")
    assert (launch.config["split_mode"], len(launch.config["tensor_split"])) == ("row", 2)
    assert launch.env["CUDA_VISIBLE_DEVICES"] == "0,1"
