"""The memory that a model in safetensors takes, and the number format in which it is computed.

Counted are the process, the weights in the number format that they are computed with, the caches of as many
conversations as there are slots, and the buffers of one step and of one image. Not counted are the caches of finished
conversations (``cache_ram_mib``), which are empty at the start and grow up to their limit with use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelhost.engines import TRAITS
from modelhost.engines.installed import is_apple_silicon
from modelhost.models.files.hf_directory import HfModel
from modelhost.models.files.memory_pools import RAM, Bytes
from modelhost.models.files.servability import takes_images

CUDA_PROCESS_BYTES = 1_200_000_000  # main memory that PyTorch's CUDA libraries take
CUDA_CONTEXT_BYTES = 600_000_000  # of the GPU
WORKING_SHARE = 0.1  # of the weights, for the buffers of a step
SCORE_BYTES = 16  # an entry of the vocabulary and a slot: a row of scores, and copies of it
SCALE_BITS = 1  # a weight that is quantized while it is loaded: its share of the scale of its block, at most
FLOAT32_BYTES, FLOAT16_BYTES = 4, 2
_WIDTHS: Mapping[str, int] = {"float32": FLOAT32_BYTES, "bfloat16": FLOAT16_BYTES, "float16": FLOAT16_BYTES}


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedDirectory:
    """A model in the form in which :func:`~modelhost.models.resolve.sizing.size_for` takes it."""

    context_length: int | None
    cache_bytes_per_token: float

    def kv_bytes_per_token(self, _cache_type: str, /) -> float:
        """The type is none of these engines' settings: keys and values have the number format of the model."""
        return self.cache_bytes_per_token


def sized_directory(model: HfModel, *, engine: str, options: Mapping[str, Any], on_gpu: bool) -> SizedDirectory:
    width = _width(engine, options, on_gpu=on_gpu, is_quantized=model.is_quantized)
    return SizedDirectory(
        context_length=model.context_length,
        cache_bytes_per_token=model.kv_elements_per_token * (width or FLOAT16_BYTES),
    )


def directory_need(  # noqa: PLR0913 (each is a part of the estimate)
    model: HfModel,
    *,
    engine: str,
    options: Mapping[str, Any],
    context_length: int,
    slots: int,
    gpus: Sequence[int] = (),
) -> Bytes:
    """Return the estimated bytes by pool; ``gpus`` are those that the worker sees.

    Of them it uses the first; vLLM as many as the model is spread over, each for an equal share.
    """
    on_gpu = bool(gpus) and TRAITS[engine].gpu is not None and options.get("device", "auto") in ("auto", "cuda")
    width = _width(engine, options, on_gpu=on_gpu, is_quantized=model.is_quantized)
    weights = _weights_bytes(model, engine, options, width)
    cache = (
        sized_directory(model, engine=engine, options=options, on_gpu=on_gpu).cache_bytes_per_token
        * context_length
        * slots
    )
    computing = int(weights * (1 + WORKING_SHARE) + cache + (model.vocab_size or 0) * SCORE_BYTES * slots)
    if TRAITS[engine].vision_types and takes_images(model, engine):
        computing += model.image_work_bytes
    process = TRAITS[engine].process_bytes
    if not on_gpu:
        return {RAM: process + computing}
    spread = int(options.get("tensor_parallel_size", 1)) * int(options.get("pipeline_parallel_size", 1))
    need = {f"gpu:{gpu}": CUDA_CONTEXT_BYTES + computing // spread for gpu in gpus[:spread]}
    return {RAM: process + CUDA_PROCESS_BYTES * spread, **need}


def _weights_bytes(model: HfModel, engine: str, options: Mapping[str, Any], width: int | None) -> float:
    bits = TRAITS[engine].numbers.quantized_bits(options)
    if width is None or (bits is not None and model.is_quantized):
        return model.weights.size_bytes
    if bits is None:
        return model.weights.parameters * width
    # The table of token vectors is not quantized; the rest has scales beside its bits.
    table = min((model.vocab_size or 0) * (model.embedding_length or 0), model.weights.parameters)
    return table * width + (model.weights.parameters - table) * (bits + SCALE_BITS) / 8


def _width(engine: str, options: Mapping[str, Any], *, on_gpu: bool, is_quantized: bool) -> int | None:
    """Return the bytes of a number as the engine computes with it; ``None`` where it is as the file has it."""
    dtype = options.get("dtype", "auto")
    if TRAITS[engine].numbers.keeps_packed and (is_quantized or (dtype == "auto" and is_apple_silicon())):
        return None  # packed weights stay so
    return _WIDTHS.get(dtype) if dtype != "auto" else (None if on_gpu else FLOAT32_BYTES)


AUTO: Final = "auto"
FLOAT32, FLOAT16 = "float32", "float16"
OF_WEIGHTS: Final[Mapping[str, str]] = {"F32": FLOAT32, "F16": FLOAT16, "BF16": "bfloat16"}
"""Names in the headers of safetensors."""
WITHOUT_FLOAT16: Final = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4", "plamo2"})
"""Families whose numbers grow beyond float16; vLLM refuses it for them (``_FLOAT16_NOT_SUPPORTED_MODELS``)."""


def dtype_in_force(model: HfModel, *, engine: str, options: Mapping[str, Any], on_gpu: bool) -> str | None:
    """Return in which numbers ``engine`` computes; ``None``: it decides by itself, or the weights are quantized."""
    requested = options.get("dtype", AUTO)
    if requested != AUTO:
        return str(requested)
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
