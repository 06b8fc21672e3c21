"""The number format that MLX computes in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelhost.engines import ENGINES
from modelhost.engines.launch import ModelSpec
from modelhost.errors import ConfigError
from modelhost.models.files.directory_needs import directory_need
from modelhost.models.files.hf_directory import read_hf_directory
from tests.integration.engines.served import NANO_HF, WHO, Asking
from tests.support.serving import ServedHost

START_SECONDS = 120
QUANTIZE = """
import sys
sys.modules["torch"] = None
from mlx_lm.convert import convert
convert(sys.argv[1], sys.argv[2], quantize=True, q_bits=8, q_group_size=32)
"""
DTYPES = """
import json, sys
sys.modules["torch"] = None
from mlx.utils import tree_flatten
from modelhost.engines.mlx.worker import load
model = load({"path": sys.argv[1], "adapter_path": None, "dtype": sys.argv[2]}).library.model
print(json.dumps(sorted({str(array.dtype) for _, array in tree_flatten(model.parameters())})))
"""


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _dtypes(model: Path, dtype: str) -> Any:
    return json.loads(_run(DTYPES, str(model), dtype).splitlines()[-1])


def _answer(model: Path, dtype: str) -> str:
    settings = {"engine": "mlx", "model": str(model), "context_length": 256, "slots": 2}
    with ServedHost(**settings, engine_options={"dtype": dtype}) as host:
        found = Asking(host).chat(WHO, temperature=0, max_tokens=24)
    return str(found["choices"][0]["message"]["content"])


@pytest.mark.promise("vllm-mcp.variables.dtype")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_weights_are_cast_when_they_are_loaded_and_the_model_answers(dtype: str) -> None:
    assert _dtypes(NANO_HF, dtype) == [f"mlx.core.{dtype}"]
    assert _answer(NANO_HF, dtype)


def test_packed_weights_stay_packed(tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    _run(QUANTIZE, str(NANO_HF), str(packed))
    assert _dtypes(packed, "float16") == ["mlx.core.float16", "mlx.core.uint32"]
    assert _answer(packed, "float16") == _answer(packed, "auto")


def test_the_format_is_counted() -> None:
    model = read_hf_directory(NANO_HF)

    def need(dtype: str) -> int:
        return directory_need(model, engine="mlx", options={"dtype": dtype}, context_length=128, slots=1)["ram"]

    assert need("float32") - need("float16") > model.weights.parameters * 2
    assert need("float16") == need("bfloat16")


@pytest.mark.parametrize("engine", ["mlx", "transformers"])
def test_a_format_that_there_is_not_is_refused_before_anything_is_loaded(engine: str) -> None:
    spec = ModelSpec(name="m", path=NANO_HF, options={"dtype": "int7"})
    with pytest.raises(ConfigError, match=f'"dtype" of {engine} takes auto, float32, bfloat16, float16, not "int7"'):
        ENGINES[engine].launch(spec, "")
    assert ENGINES[engine].accept({"dtype": "bf16"}).settings == {"engine_options": {"dtype": "bfloat16"}}
    assert ENGINES[engine].accept({"dtype": "int7"}).problems
