"""What NVML says of GPUs of several machines, and what the headers of well-known models say."""

from __future__ import annotations

from pathlib import Path

from modelhost.models.files.gguf import GgufHeader
from modelhost.workers.gpus import Gpu

GIB = 1 << 30
GB = 1_000_000_000


def recorded(*sizes: tuple[str, int, int]) -> tuple[Gpu, ...]:
    """GPUs as the driver lists them, each with its name, all of its memory and what is free of it."""
    return tuple(
        Gpu(index=index, name=name, total_bytes=total, free_bytes=free)
        for index, (name, total, free) in enumerate(sizes)
    )


ONE_OF_8_GB = recorded(("NVIDIA GeForce RTX 3070", 8 * GIB, 8_173_125_632))
ONE_OF_24_GB = recorded(("NVIDIA GeForce RTX 4090", 24 * GIB, 25_217_138_688))
UNEQUAL = recorded(
    ("NVIDIA GeForce RTX 4090", 24 * GIB, 25_217_138_688), ("NVIDIA GeForce RTX 3070", 8 * GIB, 8_173_125_632)
)
FOUR_OF_80_GB = recorded(*[("NVIDIA A100-SXM4-80GB", 80 * GIB, 85_045_870_592)] * 4)
NEARLY_FULL = recorded(("NVIDIA GeForce RTX 3070", 8 * GIB, 200_000_000))


def header(  # noqa: PLR0913 (as a file says them)
    *,
    parameters: int,
    size_bytes: int,
    blocks: int,
    width: int,
    heads: int,
    kv_heads: int,
    vocabulary: int,
    context_length: int,
    quantization: str = "Q4_K_M",
) -> GgufHeader:
    """The header of a llama."""
    return GgufHeader(
        architecture="llama",
        name=None,
        parameters=parameters,
        context_length=context_length,
        block_count=blocks,
        embedding_length=width,
        head_count=heads,
        head_count_kv=(kv_heads,) * blocks,
        key_length=width // heads,
        value_length=width // heads,
        vocab_size=vocabulary,
        quantization=quantization,
        chat_template=None,
        size_bytes=size_bytes,
        pooling_type=None,
        is_embedding=False,
        is_reranker=False,
        files=(Path("model.gguf"),),
    )


LLAMA_2_7B = header(
    parameters=6_738_415_616,
    size_bytes=4_081_004_224,
    blocks=32,
    width=4096,
    heads=32,
    kv_heads=32,
    vocabulary=32_000,
    context_length=4096,
)
LLAMA_3_70B = header(
    parameters=70_553_706_560,
    size_bytes=42_520_395_584,
    blocks=80,
    width=8192,
    heads=64,
    kv_heads=8,
    vocabulary=128_256,
    context_length=131_072,
)
