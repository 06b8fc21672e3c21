"""A model of the size that people begin with, made of random weights.

The bundled model needs half a millisecond for a token, so that a benchmark with it measures what stands around it. This
one has the layers and widths of SmolLM2-135M (https://huggingface.co/HuggingFaceTB/SmolLM2-135M), keys for every
head, and the vocabulary and the chat template of the bundled model. It writes nonsense at the speed of such a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants
from numpy.typing import NDArray

ARCHITECTURE: Final = "qwen3"  # the bundled model's
LAYERS, WIDTH, FEED_FORWARD, HEADS, HEAD_SIZE = 30, 576, 1536, 9, 64
SHAPE: Final[Mapping[str, int]] = {
    "block_count": LAYERS,
    "embedding_length": WIDTH,
    "feed_forward_length": FEED_FORWARD,
    "attention.head_count": HEADS,
    "attention.head_count_kv": HEADS,
    "attention.key_length": HEAD_SIZE,
    "attention.value_length": HEAD_SIZE,
}
OF_THE_WRITER: Final = ("GGUF.", "general.architecture")
SEED: Final = 1
KINDS: Final = ("F16", "Q8_0", "Q4_0")


def write_larger(source: Path, path: Path, storage: str = "F16") -> Path:
    """Write the model to ``path`` and return that; all but its shape and weights is from the GGUF file ``source``.

    ``storage`` is one of :data:`KINDS`: how the matrices are stored.
    """
    reader = GGUFReader(source)
    writer = GGUFWriter(path, ARCHITECTURE)
    shape = {f"{ARCHITECTURE}.{name}": value for name, value in SHAPE.items()}
    for name, field in reader.fields.items():
        if name.startswith(OF_THE_WRITER):
            continue
        kind, inner = field.types[0], field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, shape.get(name, field.contents()), kind, inner)
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    for name, values in _tensors(vocabulary):
        if storage == "F16" or values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            kind_of_block = GGMLQuantizationType[storage]
            blocks = quants.quantize(values.astype(np.float32), kind_of_block)
            writer.add_tensor(name, blocks, raw_dtype=kind_of_block)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(vocabulary: int) -> Iterator[tuple[str, NDArray[np.float16] | NDArray[np.float32]]]:
    random = np.random.default_rng(SEED)
    heads = HEADS * HEAD_SIZE

    def matrix(rows: int, columns: int) -> NDArray[np.float16]:
        drawn = random.standard_normal((rows, columns), dtype=np.float32) / columns**0.5
        weights: NDArray[np.float16] = drawn.astype(np.float16)
        return weights

    def ones(size: int) -> NDArray[np.float32]:
        return np.ones(size, dtype=np.float32)

    yield "token_embd.weight", matrix(vocabulary, WIDTH)
    yield "output_norm.weight", ones(WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", ones(WIDTH)
        for name in ("attn_q", "attn_k", "attn_v"):
            yield f"{block}.{name}.weight", matrix(heads, WIDTH)
        yield f"{block}.attn_q_norm.weight", ones(HEAD_SIZE)
        yield f"{block}.attn_k_norm.weight", ones(HEAD_SIZE)
        yield f"{block}.attn_output.weight", matrix(WIDTH, heads)
        yield f"{block}.ffn_norm.weight", ones(WIDTH)
        yield f"{block}.ffn_gate.weight", matrix(FEED_FORWARD, WIDTH)
        yield f"{block}.ffn_up.weight", matrix(FEED_FORWARD, WIDTH)
        yield f"{block}.ffn_down.weight", matrix(WIDTH, FEED_FORWARD)
