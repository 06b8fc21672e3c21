"""What vLLM makes of a configuration that a model is to be loaded with: nearly all of it are options of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.load_config import AUTO, NONE, NOTHING, Answer, Honour, LoadConfig, Overlay, Premises
from modelhost.engines.load_fields import as_option, context_length, dtype_as_option, is_quantized_so
from modelhost.engines.options import check_options
from modelhost.engines.vllm_params import OPTIONS

NAME: Final = "vllm"
WHILE_LOADING: Final = ("fp8", "bitsandbytes", "experts_int8", "torchao", "rtn", "deepspeedfp")
"""Methods by which vLLM quantizes files that are not; all others are of files that somebody has quantized."""
UNQUANTIZED: Final = ("f32", "f16", "bf16", "f64", "float32", "float16", "bfloat16", "")
"""What files are called that are not quantized."""


def _present(premises: Premises) -> dict[str, Any]:
    return check_options(NAME, premises.spec.options, OPTIONS)


def _quantization(config: LoadConfig, premises: Premises) -> Answer:
    wanted, present = (config.quantization or "").lower(), _present(premises)["quantization"]
    files = (premises.quantization or "").lower()
    if wanted == present or {wanted, present} == {NONE, AUTO} or is_quantized_so(wanted, files):
        return NOTHING
    if wanted in (NONE, AUTO) or (wanted in WHILE_LOADING and files in UNQUANTIZED):
        return Overlay(options={"quantization": wanted})
    if files in UNQUANTIZED:
        return (
            f"it needs files that are quantized with {wanted}, and these are not quantized; while it loads, vllm "
            f"quantizes with {', '.join(WHILE_LOADING)}"
        )
    return f"it needs files that are quantized with {wanted}, and these are {premises.quantization}"


def _parallel(name: str) -> Honour:
    def honour(config: LoadConfig, premises: Premises) -> Answer:
        present = _present(premises)
        wanted = getattr(config, name)
        if wanted == present[name]:
            return NOTHING
        tensors = config.tensor_parallel_size or present["tensor_parallel_size"]
        stages = config.pipeline_parallel_size or present["pipeline_parallel_size"]
        is_here = present["distributed_executor_backend"] != "ray"
        if is_here and premises.gpus and tensors * stages > len(premises.gpus):
            return (
                f"tensor_parallel_size {tensors} and pipeline_parallel_size {stages} need {tensors * stages} GPUs, and "
                f"vllm can use {len(premises.gpus)} here; the engine option ray_address lends those of a Ray cluster"
            )
        return Overlay(options={name: wanted})

    return honour


def _share(config: LoadConfig, premises: Premises) -> Answer:
    if not premises.gpus:
        return NOTHING  # none is taken of any GPU
    return as_option(NAME, OPTIONS, "gpu_memory_utilization")(config, premises)


def _eager(config: LoadConfig, premises: Premises) -> Answer:
    present = _present(premises)["enforce_eager"]
    # False is vLLM's own default, which leaves the choice to the host's.
    is_so = not config.enforce_eager or not premises.gpus if present == AUTO else None
    wanted = str(config.enforce_eager).lower()
    return NOTHING if is_so or wanted == present else Overlay(options={"enforce_eager": wanted})


HONOURS: Final[Mapping[str, Honour]] = {
    "max_model_len": context_length,
    "dtype": dtype_as_option(NAME, OPTIONS),
    "quantization": _quantization,
    "tensor_parallel_size": _parallel("tensor_parallel_size"),
    "pipeline_parallel_size": _parallel("pipeline_parallel_size"),
    "gpu_memory_utilization": _share,
    "enforce_eager": _eager,
    "enable_prefix_caching": as_option(NAME, OPTIONS, "enable_prefix_caching"),
}
