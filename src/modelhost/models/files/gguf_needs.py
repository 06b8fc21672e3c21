"""What a llama.cpp worker takes of each memory pool, estimated from the header of its model before it is started.

Counted is what the worker has mapped and touched (its RSS) after prompts that fill its context, as the tests measure it
with real workers: weights, key-value cache, the buffers of the computation, the process itself. Not counted: the cache
of finished conversations (``cache_ram_mib``), which is empty at the start and grows up to its limit with use, and the
logits that a text model computes in vain for embeddings (8 bytes a token of the text and of the
vocabulary). Models with a sliding window or compressed attention take less than is estimated for their cache.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelhost.models.files.gguf import GgufHeader, read_header
from modelhost.models.files.gguf_format import ENCODERS
from modelhost.models.files.memory_pools import GPU, RAM

FLOAT_BYTES = 4
USUAL_BATCH = 2048  # tokens of a prompt that are processed together, where the engine is not known yet
PROCESS_BYTES = 48_000_000  # Python and llama.cpp's libraries, without a model: 43 MB measured, and its growth
CUDA_PROCESS_BYTES = 300_000_000  # what the CUDA libraries add to the process
CUDA_CONTEXT_BYTES = 500_000_000  # of each GPU that a process uses
VOCABULARY_BYTES = 350  # a token: its text, its entry in two tables, its merge; 210 measured without merges
SAMPLING_BYTES = 16  # a token of the vocabulary and a slot: one row of logits and one of candidates
LIVE_ROWS = 5  # of the model's width: what llama.cpp keeps at once of one layer, besides its feed-forward part
WIDEST_FEED_FORWARD = (
    8  # times the model's width, in the widest models; mixtures of experts use a part of what they have
)
COMPUTE_MARGIN = 1.15  # for what the formula leaves out: per-thread buffers, alignment, the allocator
CACHE_PADDING = 256  # cells; llama.cpp rounds up to it
REPACKED = ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4")
"""Formats that llama.cpp copies into another order for the CPU. The file stays mapped beside the copy."""


def need_bytes(  # noqa: PLR0913 (each is a part of the estimate)
    header: GgufHeader,
    *,
    context_length: int,
    slots: int,
    kv_cache_type: str,
    gpu_layers: int | None,
    batch_size: int | None = None,
    gpus: Sequence[int] = (),
    split: Sequence[int] = (),
) -> dict[str, int]:
    """Return the estimated bytes by pool: ``ram``, and ``gpu:N`` for each of ``gpus``.

    ``gpus`` are those that the engine will use; without any everything is in main memory. ``gpu_layers`` of ``None``
    puts all layers on them. ``split`` says how many each of them gets; without it they share evenly. Without a
    ``batch_size``, it is up to :data:`USUAL_BATCH`.
    """
    cells = cache_cells(context_length, slots)
    work = _Work.of(header, cells=cells, batch=batch_size or min(context_length, USUAL_BATCH))
    cache = header.kv_bytes_per_token(kv_cache_type) * cells
    share = _share_on_gpus(header, gpu_layers) if gpus else 0.0
    vocabulary = (header.vocab_size or 0) * (VOCABULARY_BYTES + slots * SAMPLING_BYTES)
    repacked = header.size_bytes if header.quantization.startswith(REPACKED) else 0
    need: Counter[str] = Counter()
    need[RAM] = math.ceil(
        PROCESS_BYTES + vocabulary + (1 - share) * (header.size_bytes + repacked + cache) + work.on_cpu
    )
    if gpus:
        need[RAM] += CUDA_PROCESS_BYTES + math.ceil(share * _embedding_table_bytes(header))
    parts = split or [1] * len(gpus)
    for gpu, part in zip(gpus if share else (), parts, strict=False):
        of_layers = share * (header.size_bytes + cache) * part / sum(parts)
        need[f"{GPU}{gpu}"] = math.ceil(CUDA_CONTEXT_BYTES + of_layers + work.on_gpu)
    return dict(need)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShare:
    """What a model takes of a GPU that has some of its layers."""

    fixed_bytes: int
    """However many they are."""
    layer_bytes: float
    """For each: its weights, and its part of the cache."""

    @classmethod
    def of(
        cls, header: GgufHeader, *, context_length: int, slots: int, kv_cache_type: str, batch_size: int | None = None
    ) -> GpuShare:
        """Return it as :func:`need_bytes` counts."""
        cells = cache_cells(context_length, slots)
        work = _Work.of(header, cells=cells, batch=batch_size or min(context_length, USUAL_BATCH))
        whole = header.size_bytes + header.kv_bytes_per_token(kv_cache_type) * cells
        return cls(fixed_bytes=CUDA_CONTEXT_BYTES + work.on_gpu, layer_bytes=max(1.0, whole / layer_count(header)))


def layer_count(header: GgufHeader) -> int:
    """Return how many layers can be on GPUs, as llama.cpp counts: the output is one more."""
    return header.block_count + 1


def cache_cells(context_length: int, slots: int) -> int:
    """Return the cells of the key-value cache of all slots together."""
    return math.ceil(context_length / CACHE_PADDING) * CACHE_PADDING * slots


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """Bytes of the buffers of the computation, for one batch."""

    on_cpu: int
    """What is touched of the buffer: it is reserved for the worst case, but memory that is not used costs nothing."""
    on_gpu: int
    """The whole reserve, which a GPU really hands out."""

    @classmethod
    def of(cls, header: GgufHeader, *, cells: int, batch: int) -> _Work:
        """Return the bytes for ``batch`` tokens that look at ``cells`` cells of the cache.

        The widths are those of ``llm_build_*`` in llama.cpp; logits are made of the last token of a prompt only,
        except by embedding models that have an output layer all the same.
        """
        width = max(header.embedding_length, header.head_count * header.key_length)
        feed_forward = _feed_forward_length(header)
        vocabulary = header.vocab_size or 0
        mask = 2 * cells
        layer = FLOAT_BYTES * (2 * feed_forward + LIVE_ROWS * width)
        converted = 2 * max(feed_forward, width)  # the inputs of a multiplication, in the number format of the weights
        wasted = 2 * FLOAT_BYTES * vocabulary if header.is_embedding and header.architecture not in ENCODERS else 0
        reserve = max(layer, FLOAT_BYTES * (vocabulary + LIVE_ROWS * width))
        return cls(
            on_cpu=math.ceil(batch * ((mask + layer + converted) * COMPUTE_MARGIN + wasted)),
            on_gpu=math.ceil(batch * (mask + reserve) * COMPUTE_MARGIN),
        )


def _feed_forward_length(header: GgufHeader) -> int:
    """Return the width of the feed-forward part, from what the layers have beside their attention (three matrices)."""
    width, blocks = header.embedding_length, max(header.block_count, 1)
    attention_heads = 2 * header.head_count + 2 * max(header.head_count_kv, default=0)
    attention = width * attention_heads * header.key_length
    layers = header.parameters - width * (header.vocab_size or 0)
    found = (layers / blocks - attention) / (3 * width)
    return round(min(max(found, width), WIDEST_FEED_FORWARD * width))


def _embedding_table_bytes(header: GgufHeader) -> float:
    """Return the bytes of the table of token vectors, which stays in main memory."""
    share = (header.vocab_size or 0) * header.embedding_length / max(header.parameters, 1)
    return min(share, 1.0) * header.size_bytes


def _share_on_gpus(header: GgufHeader, gpu_layers: int | None) -> float:
    layers = layer_count(header)
    return 1.0 if gpu_layers is None or gpu_layers < 0 else min(gpu_layers, layers) / layers


GGUF: Final = ".gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryParts:
    """Bytes; ``None`` is unknown."""

    weights_bytes: int | None
    cache_bytes: int | None = None
    activation_bytes: int | None = None
    """The buffers of the computation, and the process itself."""


def estimate_parts(  # noqa: PLR0913 (what is known of a model)
    path: Path | None,
    *,
    size_bytes: int,
    need_bytes: int,
    kv_cache_type: str,
    context_length: int | None,
    slots: int | None,
) -> MemoryParts:
    """Return the parts of ``need_bytes``, the estimate for a model whose files are ``size_bytes``. Reads its header."""
    if path is None or path.suffix != GGUF or context_length is None:
        return MemoryParts(weights_bytes=size_bytes or None)
    header = read_header(path)
    cache = int(header.kv_bytes_per_token(kv_cache_type) * cache_cells(context_length, slots or 1))
    rest = max(0, need_bytes - size_bytes - cache)
    return MemoryParts(weights_bytes=size_bytes, cache_bytes=cache, activation_bytes=rest)
