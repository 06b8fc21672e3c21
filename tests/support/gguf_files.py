"""Tiny GGUF models with random weights, and broken files of many kinds, written in milliseconds.

llama.cpp loads the good ones; what they say is noise. The broken ones are what people really have on their disks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, FEED_FORWARD, VOCABULARY = 64, 2, 128, 300
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>")
"""The control tokens of models that were trained to fill in text before other text."""


def write_model(  # noqa: PLR0913 (each is a damage that some test does)
    path: Path,
    *,
    architecture: str = "llama",
    blocks: int = 2,
    declared_blocks: int | None = None,
    heads: int = HEADS,
    declared_heads: int | None = None,
    context_length: int = 512,
    vocabulary: int = VOCABULARY,
    template: str | None = TEMPLATE,
    rank_head: bool = False,
    pooling_type: gguf.PoolingType | None = None,
    more_control: Sequence[str] = (),
    fim_token_id: int | None = None,
) -> Path:
    """Write a llama-like model with a byte-level vocabulary; ``declared_*`` lie about what is there."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(path.stem)
    writer.add_context_length(context_length)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(blocks if declared_blocks is None else declared_blocks)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(heads if declared_heads is None else declared_heads)
    writer.add_head_count_kv(heads if declared_heads is None else declared_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(vocabulary)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if pooling_type is not None:
        writer.add_pooling_type(pooling_type)
    _add_vocabulary(writer, vocabulary, (*_CONTROL, *more_control))
    if fim_token_id is not None:
        writer.add_uint32("tokenizer.ggml.fim_pre_token_id", fim_token_id)
    if template is not None:
        writer.add_chat_template(template)
    _add_weights(writer, blocks, vocabulary, architecture=architecture, rank_head=rank_head)
    return _finish(writer, path)


def write_embedding_model(path: Path) -> Path:
    """Write a model whose pooled vectors are its purpose: a causal one with mean pooling declared."""
    return write_model(path, template=None, pooling_type=gguf.PoolingType.MEAN)


def write_reranker_model(path: Path) -> Path:
    """Write a Qwen3 reranker: ``cls.output.weight`` scores the last token, and pooling type rank is declared."""
    return write_model(path, architecture="qwen3", template=None, rank_head=True, pooling_type=gguf.PoolingType.RANK)


def _add_vocabulary(writer: gguf.GGUFWriter, size: int, control: Sequence[str]) -> None:
    """All 256 bytes in GPT-2's letters, the control tokens, and fillers."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + index) for index, _ in enumerate(others)]
    fillers = ["th", *(f"[u{index}]" for index in range(1, size - 256 - len(control)))]
    kinds = [gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * len(control)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*letters, *control, *fillers])
    writer.add_token_types([*kinds, *[gguf.TokenType.NORMAL] * len(fillers)])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(258)
    writer.add_add_bos_token(False)


def _add_weights(writer: gguf.GGUFWriter, blocks: int, vocabulary: int, *, architecture: str, rank_head: bool) -> None:
    random = np.random.default_rng(0)

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * 0.05).astype(np.float32))

    def norm(name: str, size: int = WIDTH) -> None:
        writer.add_tensor(name, np.ones(size, np.float32))

    matrix("token_embd.weight", vocabulary, WIDTH)
    norm("output_norm.weight")
    if rank_head:
        matrix("cls.output.weight", 2, WIDTH)
        writer.add_array(f"{architecture}.classifier.output_labels", ["yes", "no"])
    for block in range(blocks):
        for name in ("attn_norm", "ffn_norm"):
            norm(f"blk.{block}.{name}.weight")
        if architecture == "qwen3":
            for name in ("attn_q_norm", "attn_k_norm"):
                norm(f"blk.{block}.{name}.weight", WIDTH // HEADS)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{block}.{name}.weight", WIDTH, WIDTH)
        matrix(f"blk.{block}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        matrix(f"blk.{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        matrix(f"blk.{block}.ffn_down.weight", WIDTH, FEED_FORWARD)


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_split_model(directory: Path, stem: str = "split", parts: int = 3) -> list[Path]:
    """Write parts named as ``gguf-split`` names them; they are good for header tests only."""
    paths = [directory / f"{stem}-{part:05d}-of-{parts:05d}.gguf" for part in range(1, parts + 1)]
    for path in paths:
        write_model(path, blocks=1)
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A kind of broken model file: how to make it at a path, and words that its error must have."""

    kind: str
    write: Callable[[Path], object]
    says: str

    def __str__(self) -> str:
        return self.kind


def _cut(path: Path, keep: Callable[[int], int]) -> None:
    data = write_model(path).read_bytes()
    path.write_bytes(data[: keep(len(data))])


def _patch(path: Path, offset: int, data: bytes) -> None:
    whole = bytearray(write_model(path).read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(whole)


def _safetensors(path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)


def _lfs_pointer(path: Path) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345678\n")


def broken_files() -> Iterable[Broken]:
    """All kinds. ``missing`` writes nothing; its path must not exist."""
    huge = struct.pack("<Q", 1 << 60)
    yield Broken(kind="missing", write=lambda path: None, says="no such file")
    yield Broken(kind="directory", write=lambda path: path.mkdir(), says="holds no GGUF")
    yield Broken(kind="empty", write=lambda path: path.write_bytes(b""), says="empty")
    yield Broken(kind="wrong-magic", write=lambda path: _patch(path, 0, b"ABCD"), says="instead of b'GGUF'")
    yield Broken(kind="safetensors", write=_safetensors, says="safetensors")
    yield Broken(kind="web-page", write=lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), says="web page")
    yield Broken(kind="lfs-pointer", write=_lfs_pointer, says="git lfs pull")
    yield Broken(kind="zip", write=lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 99), says="PyTorch")
    yield Broken(kind="zeros", write=lambda path: path.write_bytes(b"\0" * 4096), says="zeros")
    yield Broken(kind="header-cut", write=lambda path: _cut(path, lambda size: 500), says="middle of its header")
    yield Broken(kind="tensors-cut", write=lambda path: _cut(path, lambda size: size - 4096), says="download it again")
    yield Broken(kind="unsupported-version", write=lambda path: _patch(path, 4, b"\x63\0\0\0"), says="version 99")
    yield Broken(kind="big-endian", write=lambda path: _patch(path, 4, b"\0\0\0\x03"), says="big-endian")
    yield Broken(kind="huge-string", write=lambda path: _patch(path, 24, huge), says="cannot be true")
    yield Broken(kind="huge-key-count", write=lambda path: _patch(path, 16, huge), says="cannot be true")
    yield Broken(kind="huge-tensor-count", write=lambda path: _patch(path, 8, huge), says="cannot be true")
    yield Broken(kind="zero-heads", write=lambda path: write_model(path, declared_heads=0), says="head_count is 0")
    yield Broken(
        kind="absurd-layer-count",
        write=lambda path: write_model(path, declared_blocks=99_999),
        says="block_count is 99999",
    )
    yield Broken(
        kind="unknown-architecture",
        write=lambda path: write_model(path, architecture="lama-next"),
        says="does not know the architecture",
    )
