"""The number format in which a model in safetensors is computed: what is in force, and whether another could be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines import TRAITS
from modelhost.engines.installed import is_apple_silicon
from modelhost.models.hf_directory import HfModel

AUTO: Final = "auto"
FLOAT32, FLOAT16 = "float32", "float16"
OF_WEIGHTS: Final[Mapping[str, str]] = {"F32": FLOAT32, "F16": FLOAT16, "BF16": "bfloat16"}
"""Names in the headers of safetensors."""
WITHOUT_FLOAT16: Final = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4", "plamo2"})
"""Families whose numbers grow beyond float16; vLLM refuses it for them (``_FLOAT16_NOT_SUPPORTED_MODELS``)."""


def dtype_in_force(model: HfModel, *, engine: str, options: Mapping[str, Any], on_gpu: bool) -> str | None:
    """Return in which numbers ``engine`` computes; ``None``: it decides by itself, or the weights are quantized."""
    told = options.get("dtype", AUTO)
    if told != AUTO:
        return str(told)
    if model.is_quantized or TRAITS[engine].numbers.is_unknown:
        return None
    if not _has_16_bits(engine, options, on_gpu=on_gpu):
        return FLOAT32
    own = model.declared_dtype or OF_WEIGHTS.get(model.weights.dtype)
    is_unsuitable = own == FLOAT32 or (own == FLOAT16 and not _can_be_float16(model))
    return None if is_unsuitable and TRAITS[engine].numbers.converts_unsuitable else own


def can_be_float16(model: HfModel, *, engine: str, options: Mapping[str, Any], on_gpu: bool) -> bool:
    """Whether ``engine`` can compute in float16, and this machine as fast as in its best format.

    Quantized weights have kernels for formats of their own.
    """
    is_able = not TRAITS[engine].numbers.is_unknown and _has_16_bits(engine, options, on_gpu=on_gpu)
    return is_able and not model.is_quantized and _can_be_float16(model)


def _can_be_float16(model: HfModel) -> bool:
    return WITHOUT_FLOAT16.isdisjoint(model.families)


def _has_16_bits(engine: str, options: Mapping[str, Any], *, on_gpu: bool) -> bool:
    """Whether it is computed where 16 bits are no slower than 32: most CPUs have no instructions for them."""
    device = options.get("device", AUTO)
    if TRAITS[engine].gpu is not None and on_gpu:
        return device in (AUTO, "cuda")
    return TRAITS[engine].numbers.uses_16_bits_on_apple_silicon and is_apple_silicon() and device in (AUTO, "mps")
