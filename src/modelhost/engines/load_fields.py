"""What engines answer to the fields of a configuration in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.load_config import (
    AUTO,
    DTYPES,
    NONE,
    NOTHING,
    Answer,
    Honour,
    LoadConfig,
    Overlay,
    Premises,
    Share,
)
from modelhost.engines.options import check_options

QUANTIZED_FILES: Final = "take files that are quantized so"


def context_length(config: LoadConfig, premises: Premises) -> Answer:
    wanted = config.max_model_len
    return NOTHING if wanted == premises.spec.context_length else Overlay(settings={"context_length": wanted})


def share_of_gpus(config: LoadConfig, _premises: Premises) -> Answer:
    """Of an engine that takes what the model needs, and no more."""
    assert config.gpu_memory_utilization is not None
    return Share(fraction=config.gpu_memory_utilization)


def holds_anyway(_config: LoadConfig, _premises: Premises) -> Answer:
    return NOTHING


def only(name: str, value: object, need: str) -> Honour:
    """Of a field that can have one value; any other one would ``need`` something else."""
    return lambda config, _premises: NOTHING if getattr(config, name) == value else need


def without_knobs(need: str) -> dict[str, Honour]:
    """Of an engine that can be told nothing: each field may have the value that leaves things as they are."""
    defaults: Mapping[str, object] = {
        "dtype": AUTO,
        "quantization": NONE,
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "enforce_eager": False,
        "enable_prefix_caching": True,
    }
    return {
        "gpu_memory_utilization": share_of_gpus,
        **{name: only(name, value, need) for name, value in defaults.items()},
    }


def as_option(engine: str, known: Mapping[str, Any], name: str) -> Honour:
    """Of a field that is an option of the engine, under the same name."""

    def honour(config: LoadConfig, premises: Premises) -> Answer:
        value = getattr(config, name)
        present = check_options(engine, premises.spec.options, known)[name]
        return NOTHING if value == present else Overlay(options={name: value})

    return honour


def dtype_as_option(engine: str, known: Mapping[str, Any]) -> Honour:
    """Of an engine that computes in the number format that it is told."""

    def honour(config: LoadConfig, premises: Premises) -> Answer:
        wanted = DTYPES.get((config.dtype or "").lower())
        if wanted is None:
            return f"there is no number format {config.dtype}; there is {', '.join(dict.fromkeys(DTYPES.values()))}"
        present = check_options(engine, premises.spec.options, known)["dtype"]
        return NOTHING if wanted == present else Overlay(options={"dtype": wanted})

    return honour


def quantization_of_files(config: LoadConfig, premises: Premises) -> Answer:
    """Of an engine that serves the files as they are; ``none``: nothing is made of them."""
    wanted = (config.quantization or "").lower()
    if wanted in (NONE, AUTO) or is_quantized_so(wanted, premises.quantization):
        return NOTHING
    return f"it serves files as they are, and these are {premises.quantization}; {QUANTIZED_FILES}: {wanted}"


def is_quantized_so(wanted: str, files: str | None) -> bool:
    """Whether ``files``, such as `Q4_K_M` or `awq-4bit`, are quantized by the method ``wanted``."""
    own = (files or "").lower()
    return wanted == own or wanted == own.partition("-")[0]


def prefixes_as_size(engine: str, known: Mapping[str, Any], option: str) -> Honour:
    """Of an engine that keeps the beginnings of prompts in a cache of some size: 0 keeps none."""

    def honour(config: LoadConfig, premises: Premises) -> Answer:
        present = check_options(engine, premises.spec.options, known)[option]
        if bool(present) == config.enable_prefix_caching:
            return NOTHING
        return Overlay(options={option: known[option] if config.enable_prefix_caching else 0})

    return honour
