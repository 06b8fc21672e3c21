"""The number format of models in safetensors: in force by default, and as vLLM's MCP server would have it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.config.vllm_environment import PREFERS_FLOAT16
from modelhost.models.files import directory_needs
from modelhost.models.residency.registry_sync import inspect_files
from modelhost.models.resolve import runtime
from modelhost.models.resolve.locate import single_entry
from modelhost.models.resolve.resolve import resolve
from modelhost.models.resolve.resolved import Resolved
from modelhost.workers.gpus import Gpu
from tests.support.nano_hf import NANO_HF

ON_GPU = (0,)
QUANTIZED = {"quantization_config": {"quant_method": "awq", "bits": 4}}


def _nano(tmp_path: Path, **config: Any) -> Path:
    """The bundled model, whose numbers are float16, with ``config`` in its config.json; ``None`` takes a key away."""
    path = tmp_path / "nano"
    shutil.copytree(NANO_HF, path)
    own = {**json.loads((path / "config.json").read_text()), **config}
    (path / "config.json").write_text(json.dumps({key: value for key, value in own.items() if value is not None}))
    return path


def _resolved(model: Path, engine: str, *, gpus: tuple[int, ...] = (), **more: Any) -> Resolved:
    prefers = more.pop("prefers_float16", False)
    given = {"model": str(model), "engine": engine, "worker_python": "/opt/python", "threads": 1, **more}
    return resolve(Settings.model_validate(given), gpus=dict.fromkeys(gpus, 80 * 10**9), prefers_float16=prefers)


@pytest.mark.parametrize(
    ("engine", "gpus", "config", "dtype"),
    [
        ("transformers", (), {}, "float32"),
        ("transformers", ON_GPU, {}, "float16"),
        ("transformers", ON_GPU, {"torch_dtype": "bfloat16"}, "bfloat16"),
        ("transformers", ON_GPU, {"torch_dtype": None, "dtype": "torch.bfloat16"}, "bfloat16"),
        ("transformers", ON_GPU, {"torch_dtype": None}, "float16"),
        ("transformers", ON_GPU, QUANTIZED, None),
        ("vllm", (), {}, "float32"),
        ("vllm", ON_GPU, {}, "float16"),
        ("vllm", ON_GPU, {"torch_dtype": "float32"}, None),
        ("vllm", ON_GPU, {"model_type": "gemma2"}, None),
        ("mlx", (), {}, "float32"),
        ("mistralrs", (), {}, None),
    ],
)
def test_the_number_format_in_force_is_known_before_the_model_is_loaded(
    engine: str, gpus: tuple[int, ...], config: dict[str, Any], dtype: str | None, tmp_path: Path
) -> None:
    assert _resolved(_nano(tmp_path, **config), engine, gpus=gpus).dtype == dtype


def test_a_number_format_that_is_told_is_in_force(tmp_path: Path) -> None:
    model = _nano(tmp_path)
    for gpus in ((), ON_GPU):
        found = _resolved(model, "vllm", gpus=gpus, engine_options={"dtype": "bfloat16"}, prefers_float16=True)
        assert (found.dtype, found.spec.options) == ("bfloat16", {"dtype": "bfloat16"})


@pytest.mark.promise("vllm-mcp.variables.dtype")
@pytest.mark.parametrize(
    ("engine", "gpus", "config", "is_taken"),
    [
        ("vllm", ON_GPU, {"torch_dtype": "bfloat16"}, True),
        ("transformers", ON_GPU, {"torch_dtype": "float32"}, True),
        ("vllm", (), {}, False),
        ("transformers", (), {}, False),
        ("mlx", ON_GPU, {}, False),
        ("mistralrs", ON_GPU, {}, False),
        ("vllm", ON_GPU, QUANTIZED, False),
        ("vllm", ON_GPU, {"model_type": "gemma2"}, False),
        ("vllm", ON_GPU, {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, False),
    ],
)
def test_float16_is_taken_where_engine_model_and_machine_can(
    engine: str, gpus: tuple[int, ...], config: dict[str, Any], is_taken: bool, tmp_path: Path
) -> None:
    found = _resolved(_nano(tmp_path, **config), engine, gpus=dict.fromkeys(gpus, 80 * 10**9), prefers_float16=True)
    assert found.spec.options == ({"dtype": "float16"} if is_taken else {})
    assert (found.dtype == "float16") == is_taken


def test_apple_silicon_computes_in_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_needs, "is_apple_silicon", lambda: True)
    model = _nano(tmp_path, torch_dtype="bfloat16")
    assert _resolved(model, "mlx").dtype == "bfloat16"
    assert _resolved(model, "mlx", prefers_float16=True).spec.options == {"dtype": "float16"}
    assert _resolved(model, "transformers", engine_options={"device": "cpu"}).dtype == "float32"


def test_gpus_that_the_worker_does_not_see_are_none(tmp_path: Path) -> None:
    hidden = {"worker_env": {"CUDA_VISIBLE_DEVICES": ""}}
    assert _resolved(_nano(tmp_path), "vllm", gpus=ON_GPU, prefers_float16=True, **hidden).dtype == "float32"


@pytest.mark.parametrize(
    ("launch", "options"),
    [
        ({PREFERS_FLOAT16: True}, {"dtype": "float16"}),
        (
            {PREFERS_FLOAT16: True, "dtype": "half", "tensor_parallel_size": 2},
            {"dtype": "float16", "tensor_parallel_size": 2},
        ),
        ({PREFERS_FLOAT16: True, "dtype": "float32"}, {"dtype": "float32"}),
        ({PREFERS_FLOAT16: True, "dtype": "auto"}, {}),
        ({}, {}),
    ],
    ids=str,
)
def test_a_preference_is_followed_where_nobody_says_otherwise(
    launch: dict[str, Any], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = [Gpu(index=index, name="GPU", total_bytes=1 << 40, free_bytes=1 << 40) for index in (0, 1)]
    monkeypatch.setattr(runtime, "has_driver", lambda: True)
    monkeypatch.setattr(runtime, "gpus", lambda: two)
    monkeypatch.setattr("modelhost.engines.vllm.engine.torch_uses_gpus", lambda _: True)
    settings = Settings(model=str(NANO_HF), engine="vllm", worker_python="/opt/python", threads=1)
    preview = inspect_files(single_entry(settings, launch=launch))
    assert preview.error is None
    assert preview.resolved is not None
    assert preview.resolved.spec.options == options
