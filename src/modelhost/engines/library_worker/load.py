"""What an engine that is a library makes of a configuration that a model is to be loaded with; the host's side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.load_config import Honour
from modelhost.engines.load_fields import (
    context_length,
    dtype_as_option,
    holds_anyway,
    only,
    prefixes_as_size,
    quantization_of_files,
    share_of_gpus,
)

ONE_DEVICE: Final = (
    "it works on one device; vllm spreads a model in safetensors over several GPUs, llama.cpp one in GGUF"
)


def honours(engine: str, known: Mapping[str, Any], *, prefixes: str) -> Mapping[str, Honour]:
    """Return the answers of ``engine`` with the options ``known``, of which ``prefixes`` is the size of its cache."""
    return {
        "max_model_len": context_length,
        "dtype": dtype_as_option(engine, known),
        "quantization": quantization_of_files,
        "tensor_parallel_size": only("tensor_parallel_size", 1, ONE_DEVICE),
        "pipeline_parallel_size": only("pipeline_parallel_size", 1, ONE_DEVICE),
        "gpu_memory_utilization": share_of_gpus,
        "enforce_eager": holds_anyway,  # none of them uses CUDA graphs
        "enable_prefix_caching": prefixes_as_size(engine, known, prefixes),
    }
