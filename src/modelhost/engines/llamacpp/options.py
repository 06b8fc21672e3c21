"""The engine options of llama.cpp for speed and for GPUs, and how a load configuration sets them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.launch import ModelSpec
from modelhost.engines.load_config import (
    AUTO,
    DTYPES,
    NO_CHANGE,
    NONE,
    ConfiguredLoad,
    FieldHandler,
    FieldResult,
    LoadBaseline,
    LoadConfig,
    LoadOverrides,
    configure_load,
    context_length_field,
    gpu_share_field,
    is_quantized_so,
    option_field,
)
from modelhost.engines.options import check_options
from modelhost.errors import ConfigError

FALLBACK_CONTEXT: Final = 4096
LARGEST_BATCH: Final = 2048
MICRO_BATCH: Final = 512
"""llama.cpp's default; larger steps gain little and take memory."""
SPEED_OPTIONS: Final[Mapping[str, Any]] = {
    "batch_size": 0,  # tokens of a prompt worked on at once; 0: the context, up to 2048
    "micro_batch_size": 0,  # tokens computed in one step, which sizes the buffers; 0: up to 512
    "flash_attention": "auto",  # on, off, or auto: where the device computes it
    "threads_batch": 0,  # threads for prompts; 0: as many as for answers
    "speculation": "none",  # guess ahead by what the text repeats: ngram-simple, ngram-mod, ngram-map-k
}
SPINS: Final = "3000"
"""How often a thread of OpenMP checks whether the others are done before it sleeps until they are.

On an idle machine the others are usually done within that number, while a thread that sleeps at once would be woken
hundreds of times per token. OpenMP's default of 300,000 is no faster there, but keeps a core busy while another program
occupies the core of the thread that it waits for. Figures: docs/performance.md.
"""
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "flash_attention": ("auto", "on", "off"),
    "speculation": ("none", "ngram-simple", "ngram-mod", "ngram-map-k"),
}


def check_speed(options: Mapping[str, Any]) -> None:
    """Check the values of the options of :data:`CHOICES` and :data:`SPEED_OPTIONS`.

    Raises:
        ConfigError: one is not valid.
    """
    for name, choices in CHOICES.items():
        if options[name] not in choices:
            raise ConfigError(
                f'engine option "{name}" of llamacpp takes {", ".join(choices)}, not "{options[name]}"',
                param="engine_options",
            )
    for name in ("batch_size", "micro_batch_size", "threads_batch"):
        if options[name] < 0:
            raise ConfigError(f'engine option "{name}" of llamacpp: {options[name]} is below 0', param="engine_options")


def batch_size_of(spec: ModelSpec, options: Mapping[str, Any]) -> int:
    """Return how many tokens of a prompt are worked on at once."""
    wanted: int = options["batch_size"]
    # A multiple of the slots: llama.cpp divides a batch among them, and aborts during the load if there is a remainder.
    slots = spec.slots or 1
    return math.ceil((wanted or min(spec.context_length or FALLBACK_CONTEXT, LARGEST_BATCH)) / slots) * slots


def micro_batch_size_of(spec: ModelSpec, options: Mapping[str, Any], *, embeds: bool) -> int:
    """Return how many tokens are evaluated in one step, which determines the size of the compute buffers.

    ``embeds``: whether it makes embeddings, for which a text must be evaluated in one step.
    """
    batch, wanted = batch_size_of(spec, options), options["micro_batch_size"]
    return batch if embeds else min(batch, wanted or MICRO_BATCH)


NAME: Final = "llamacpp"
LOAD_OPTIONS: Final[Mapping[str, Any]] = {
    "tensor_parallel_size": 1,  # GPUs that share the rows of each layer; 1: as pipeline_parallel_size says
    "pipeline_parallel_size": 1,  # GPUs that have some of the layers each; 1: all that there are
    "enforce_eager": False,  # whether CUDA computes without graphs
    "enable_prefix_caching": True,  # whether requests that are silent use what was computed for the same beginning
}
"""Engine options under vLLM's names."""


def llamacpp_load(config: LoadConfig, baseline: LoadBaseline, known: Mapping[str, Any]) -> ConfiguredLoad:
    """Apply ``config`` to llama.cpp; ``known`` has its engine options with their defaults."""
    return configure_load({**_HONOURS, **_options(known)}, config, baseline)


def gpus_used(options: Mapping[str, Any], gpus: tuple[int, ...]) -> tuple[int, ...]:
    """Return those of ``gpus`` that a model with ``options``, which are complete, uses.

    Raises:
        ConfigError: there are too few, or the options contradict each other.
    """
    rows, layers = options["tensor_parallel_size"], options["pipeline_parallel_size"]
    if min(rows, layers) < 1:
        raise ConfigError(
            'engine options "tensor_parallel_size" and "pipeline_parallel_size" of llamacpp: each is 1 or more',
            param="engine_options",
        )
    if rows == layers == 1:
        return gpus
    if problem := _problem(rows, layers, gpus):
        name = "tensor_parallel_size" if rows > 1 else "pipeline_parallel_size"
        raise ConfigError(f'engine option "{name}" of llamacpp: {problem}', param="engine_options")
    return gpus[: max(rows, layers)]


def split_mode(options: Mapping[str, Any]) -> str:
    """Return llama.cpp's split mode for a model with ``options``."""
    return "row" if options["tensor_parallel_size"] > 1 else "layer"


def _problem(rows: int, layers: int, gpus: tuple[int, ...]) -> str:
    """Return why a model cannot be split this way; empty if it can."""
    if rows > 1 and layers > 1:
        return "llama.cpp splits a model by rows or by layers, not by both; leave the other one at 1"
    wanted = max(rows, layers)
    if wanted > len(gpus):
        there = f"there are {len(gpus)}" if len(gpus) > 1 else "there is one" if gpus else "there is none"
        return f"it needs {wanted} GPUs that llama.cpp can use, and {there}"
    return ""


def _split(name: str, known: Mapping[str, Any]) -> FieldHandler:
    def honour(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        present = check_options(NAME, baseline.spec.options, known)
        told = {
            "tensor_parallel_size": config.tensor_parallel_size,
            "pipeline_parallel_size": config.pipeline_parallel_size,
        }
        sizes = {size: present[size] if value is None else value for size, value in told.items()}
        wanted = sizes[name]
        if wanted == present[name]:
            return NO_CHANGE
        problem = _problem(sizes["tensor_parallel_size"], sizes["pipeline_parallel_size"], baseline.gpus)
        return problem or LoadOverrides(options={name: wanted})

    return honour


def _dtype(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    wanted = DTYPES.get((config.dtype or "").lower())
    if wanted == AUTO or (wanted is not None and wanted == baseline.dtype):
        return NO_CHANGE
    return (
        f"llama.cpp computes in the format of the GGUF file, and this one is {baseline.quantization}; "
        "take a file in that format, such as org/name:F16 or org/name:BF16 of the hub"
    )


def _quantization(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    wanted = config.quantization or ""
    if wanted.lower() in (NONE, AUTO) or is_quantized_so(wanted.lower(), baseline.quantization):
        return NO_CHANGE
    return (
        f"a GGUF file is quantized when it is made, and this one is {baseline.quantization}; take a file that is "
        "quantized so, such as org/name:Q8_0 of the hub, or files in safetensors with another engine"
    )


def _options(known: Mapping[str, Any]) -> Mapping[str, FieldHandler]:
    return {
        **{name: _split(name, known) for name in ("tensor_parallel_size", "pipeline_parallel_size")},
        **{name: option_field(NAME, known, name) for name in ("enforce_eager", "enable_prefix_caching")},
    }


_HONOURS: Final[Mapping[str, FieldHandler]] = {
    "max_model_len": context_length_field,
    "dtype": _dtype,
    "quantization": _quantization,
    "gpu_memory_utilization": gpu_share_field,
}
