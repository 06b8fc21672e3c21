"""What the installed llama.cpp says of its devices, and what it is told of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import xllamacpp

from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.installation import library_uses_gpus
from modelhost.engines.llamacpp.worker import build_params
from modelhost.workers.gpus import gpus


def test_without_a_gpu_the_engine_uses_none() -> None:
    assert gpus() or not library_uses_gpus(sys.executable)


def test_a_python_without_the_engine_uses_none() -> None:
    assert not library_uses_gpus("/bin/false")


@pytest.mark.parametrize(
    ("placed", "layers", "split", "visible"),
    [
        ({"gpu_layers": 30, "gpu_split": (20, 0, 10), "gpus": (0, 1, 2)}, 30, [20.0, 10.0, 0.0], "0,2"),
        ({"gpu_layers": 33, "gpu_split": (33,), "gpus": (0,)}, 33, [33.0, 0.0, 0.0], None),
        ({"gpu_layers": 0, "gpu_split": (0,), "gpus": (0,)}, 0, [0.0, 0.0, 0.0], ""),
        ({"gpu_layers": 0}, 0, [0.0, 0.0, 0.0], ""),
        ({}, -1, [0.0, 0.0, 0.0], None),
    ],
)
def test_the_worker_has_the_layers_where_the_host_has_decided(
    placed: dict[str, Any], layers: int, split: list[float], visible: str | None
) -> None:
    launch = LlamaCpp().launch(ModelSpec(name="m", path=Path("m.gguf"), **placed), "key")
    params = build_params(xllamacpp, dict(launch.config))
    assert (params.n_gpu_layers, params.tensor_split[:3], params.fit_params) == (layers, split, False)
    assert params.no_op_offload == (layers == 0)
    assert launch.env.get("CUDA_VISIBLE_DEVICES") == visible
