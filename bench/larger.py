"""A model of the size that people begin with, made of random weights.

The bundled model needs half a millisecond for a token, so that a benchmark with it measures what stands around it. This
one has the layers and widths of SmolLM2-135M (https://huggingface.co/HuggingFaceTB/SmolLM2-135M), keys for every
head, and the vocabulary and the chat template of the bundled model. It writes nonsense at the speed of such a model.

`Q4_K_M` stores 256 weights of a row in a block, which those widths are no multiples of: its model is wider and has
fewer layers, 120 million weights too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants
from numpy.typing import NDArray

ARCHITECTURE: Final = "qwen3"  # the bundled model's


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The layers of a model and how wide they are."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    head_size: int = 64

    @property
    def fields(self) -> Mapping[str, int]:
        """What a GGUF file says of it."""
        return {
            "block_count": self.layers,
            "embedding_length": self.width,
            "feed_forward_length": self.feed_forward,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.heads,
            "attention.key_length": self.head_size,
            "attention.value_length": self.head_size,
        }


SHAPE: Final = Shape(layers=30, width=576, feed_forward=1536, heads=9)
WIDE_SHAPE: Final = Shape(layers=17, width=768, feed_forward=2048, heads=12)
OF_THE_WRITER: Final = ("GGUF.", "general.architecture")
SEED: Final = 1
DEVIATION_OF_4_BITS, DEVIATION_OF_6_BITS = 4.61, 18.5  # of whole numbers below 16 and below 64
KINDS: Final = ("F16", "Q8_0", "Q4_0", "Q4_K_M")
OF_SIX_BITS: Final = ("token_embd.weight", "attn_v.weight", "ffn_down.weight")
"""Of a `Q4_K_M` file: the table of tokens, and some matrices of half of the layers, as llama.cpp's quantizer does."""


def write_larger(source: Path, path: Path, storage: str = "F16", shape: Shape | None = None) -> Path:
    """Write the model to ``path`` and return that; all but its shape and weights is from the GGUF file ``source``.

    ``storage`` is one of :data:`KINDS`: how the matrices are stored.
    """
    if shape is None:
        shape = WIDE_SHAPE if storage == "Q4_K_M" else SHAPE
    reader = GGUFReader(source)
    writer = GGUFWriter(path, ARCHITECTURE)
    fields = {f"{ARCHITECTURE}.{name}": value for name, value in shape.fields.items()}
    for name, field in reader.fields.items():
        if name.startswith(OF_THE_WRITER):
            continue
        outer, inner = field.types[0], field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, fields.get(name, field.contents()), outer, inner)
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    for name, values in _tensors(vocabulary, shape):
        kind = None if storage == "F16" or values.ndim == 1 else _kind_of(name, storage)
        if kind is None:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, _blocks(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _kind_of(name: str, storage: str) -> GGMLQuantizationType:
    if storage != "Q4_K_M":
        return GGMLQuantizationType[storage]
    layer = name.split(".")[1]
    is_larger = name.endswith(OF_SIX_BITS) and (not layer.isdigit() or int(layer) % 2 == 0)
    return GGMLQuantizationType.Q6_K if is_larger else GGMLQuantizationType.Q4_K


def _blocks(values: NDArray[np.float16] | NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[np.uint8]:
    """Return a matrix in blocks. Those of 256 weights, which the library does not write, are drawn as they are: random
    numbers under scales that give them the spread of the others.

    Their layout is that of ``block_q4_K`` and ``block_q6_K`` in llama.cpp's ``ggml-common.h``.
    """
    if kind not in (GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K):
        stored: NDArray[np.uint8] = quants.quantize(values.astype(np.float32), kind)
        return stored
    rows, columns = values.shape
    size = GGML_QUANT_SIZES[kind][1]
    blocks = np.random.default_rng(SEED).integers(0, 256, (rows, columns // 256, size), dtype=np.uint8)
    if kind == GGMLQuantizationType.Q4_K:
        scale = 1 / (32 * DEVIATION_OF_4_BITS * columns**0.5)  # 32: of each of its eight parts, in six bits
        blocks[..., 0:4] = np.array([scale, 7.5 * scale], dtype=np.float16).view(np.uint8)
        blocks[..., 4:16] = np.array([0xA0] * 8 + [0] * 4, dtype=np.uint8)
    else:
        blocks[..., 192:208] = 1  # the scales of its sixteen parts
        scale = 1 / (DEVIATION_OF_6_BITS * columns**0.5)
        blocks[..., 208:210] = np.array([scale], dtype=np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


def _tensors(vocabulary: int, shape: Shape) -> Iterator[tuple[str, NDArray[np.float16] | NDArray[np.float32]]]:
    random = np.random.default_rng(SEED)
    heads, width = shape.heads * shape.head_size, shape.width

    def matrix(rows: int, columns: int) -> NDArray[np.float16]:
        drawn = random.standard_normal((rows, columns), dtype=np.float32) / columns**0.5
        weights: NDArray[np.float16] = drawn.astype(np.float16)
        return weights

    def ones(size: int) -> NDArray[np.float32]:
        return np.ones(size, dtype=np.float32)

    yield "token_embd.weight", matrix(vocabulary, width)
    yield "output_norm.weight", ones(width)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", ones(width)
        for name in ("attn_q", "attn_k", "attn_v"):
            yield f"{block}.{name}.weight", matrix(heads, width)
        yield f"{block}.attn_q_norm.weight", ones(shape.head_size)
        yield f"{block}.attn_k_norm.weight", ones(shape.head_size)
        yield f"{block}.attn_output.weight", matrix(width, heads)
        yield f"{block}.ffn_norm.weight", ones(width)
        yield f"{block}.ffn_gate.weight", matrix(shape.feed_forward, width)
        yield f"{block}.ffn_up.weight", matrix(shape.feed_forward, width)
        yield f"{block}.ffn_down.weight", matrix(width, shape.feed_forward)
