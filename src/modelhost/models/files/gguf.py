"""The header of a GGUF file, read without loading the model.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What llama.cpp would refuse, or die of, is refused
here with a sentence that says the way out; weights themselves are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelhost.config.paths import expand_home, why_missing
from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.files.gguf_format import ARRAY, ENCODERS, FILE_TYPES, KV_CACHE_BYTES, MAGIC, SUPPORTED_VERSIONS
from modelhost.models.files.gguf_stream import Damaged, HeaderStream, Value
from modelhost.models.files.gguf_tensors import Tensors, check_model, read_tensors
from modelhost.models.files.model_files import part_names, part_number

MAX_KEYS = 1 << 16
TOKENIZER = "tokenizer."
"""What the keys of the vocabulary begin with."""
POOLING_RANK = 4
"""``LLAMA_POOLING_TYPE_RANK``; 0 is none, 1 mean, 2 cls, 3 last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says of its model. Lengths are in tokens or elements; ``None`` means that the file is silent."""

    architecture: str
    name: str | None
    parameters: int
    context_length: int | None
    block_count: int
    embedding_length: int
    head_count: int
    head_count_kv: tuple[int, ...]
    """One entry a layer; layers without attention have 0."""
    key_length: int
    value_length: int
    vocab_size: int | None
    quantization: str
    chat_template: str | None
    size_bytes: int
    """All parts together."""
    pooling_type: int | None
    is_embedding: bool
    is_reranker: bool
    files: tuple[Path, ...]
    """The parts in order; one path for a model that is not split."""

    def kv_bytes_per_token(self, cache_type: str = "f16") -> float:
        """Return the bytes that one token takes in the key-value cache, at most.

        Layers with a sliding window and compressed (MLA) attention take less. ``cache_type`` is a key of
        ``KV_CACHE_BYTES``.
        """
        return sum(self.head_count_kv) * (self.key_length + self.value_length) * KV_CACHE_BYTES[cache_type]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    values: Mapping[str, Value]
    tensors: Tensors
    size_bytes: int


def read_header(path: Path) -> GgufHeader:
    """Return what the GGUF file at ``path`` says of itself; of a split model ``path`` is the first part.

    Raises:
        ModelFileMissing: there is nothing at ``path``, or a part of a split model is not beside it.
        ModelFileInvalid: it is not GGUF, damaged, or holds something that llama.cpp cannot serve.
    """
    path = expand_home(path)
    part = _read_part(path)
    files = _all_files(path)
    parts = [part, *(_read_part(file) for file in files[1:])]
    return _header(path, parts, files)


def read_values(path: Path) -> tuple[Mapping[str, Value], int]:
    """Return the metadata and the size in bytes of any GGUF file at ``path``; raises as :func:`read_header`."""
    part = _read_part(expand_home(path))
    return part.values, part.size_bytes


def read_vocabulary(path: Path) -> dict[str, list[Any]]:
    """Return the whole arrays of the tokenizer (tokens, types, merges) in a file; raises as :func:`read_header`."""
    path = expand_home(path)
    part = _read_part(path)  # which checks it
    found: dict[str, list[Any]] = {}
    with path.open("rb") as file:
        stream = HeaderStream(file, part.size_bytes)
        stream.skip(len(MAGIC) + 4 + 8)
        for _ in range(stream.unsigned(8)):
            key, kind = stream.text(), stream.unsigned(4)
            if kind == ARRAY and key.startswith(TOKENIZER):
                found[key] = stream.items()
            else:
                stream.value(kind, keep=False)
    return found


def _read_part(path: Path) -> _Part:
    """Read one file, and translate what goes wrong."""
    try:
        size_bytes = _checked_size(path)
        with path.open("rb") as file:
            head = file.read(64)
            if not head.startswith(MAGIC):
                raise _invalid(path, describe_foreign_format(head))
            file.seek(0)
            return _parse(HeaderStream(file, size_bytes), size_bytes)
    except FileNotFoundError as error:
        raise ModelFileMissing(f"{path}: {why_missing(path)}", path=str(path)) from error
    except Damaged as error:
        raise _invalid(path, str(error)) from error
    except (OSError, ValueError) as error:
        raise _invalid(path, f"it cannot be read ({error})") from error


def _checked_size(path: Path) -> int:
    status = path.stat()
    if path.is_dir():
        raise _invalid(path, "it is a directory: give the GGUF file in it")
    if not path.is_file():
        raise _invalid(path, "it is not an ordinary file")
    if status.st_size == 0:
        raise _invalid(path, "it is empty: download it again")
    return status.st_size


def _parse(stream: HeaderStream, size_bytes: int) -> _Part:
    stream.skip(len(MAGIC))
    version = stream.unsigned(4)
    if version not in SUPPORTED_VERSIONS:
        if int.from_bytes(version.to_bytes(4, "little"), "big") in SUPPORTED_VERSIONS:
            raise Damaged("it is big-endian: convert it for this machine with gguf-convert-endian")
        raise Damaged(
            f"it has version {version} of the format; 2 and 3 are supported: get a newer file or a newer modelhost"
        )
    tensor_count, key_count = stream.unsigned(8), stream.unsigned(8)
    if key_count > MAX_KEYS:
        raise Damaged(f"it claims {key_count:,} metadata keys, which cannot be true")
    values = _read_values(stream, key_count)
    tensors = read_tensors(stream, tensor_count, values.get("general.alignment"), size_bytes)
    return _Part(values=values, tensors=tensors, size_bytes=size_bytes)


def _read_values(stream: HeaderStream, count: int) -> dict[str, Value]:
    """Return the values that are of use here; the texts of others (licences, sources) are passed over."""
    values: dict[str, Value] = {}
    for _ in range(count):
        key = stream.text()
        if not key or key in values:
            raise Damaged(f"the metadata key {key[:64]!r} is empty or there twice")
        kind = stream.unsigned(4)
        keep = not key.startswith(TOKENIZER) or key in {"tokenizer.chat_template", "tokenizer.ggml.model"}
        values[key] = stream.value(kind, keep=keep)
    return values


def _all_files(path: Path) -> tuple[Path, ...]:
    """Return the parts of the model that begins with ``path``."""
    number = part_number(path.name)
    if number is None:
        return (path,)
    files = tuple(path.with_name(name) for name in part_names(path.name))
    if number != 1:
        raise _invalid(
            path, f"it is part {number} of a split model: give the first part, {files[0].name if files else '?'}"
        )
    missing = [file.name for file in files if not file.exists()]
    if missing:
        links = " (links that lead nowhere)" if all(path.with_name(name).is_symlink() for name in missing) else ""
        raise ModelFileMissing(
            f"{path}: parts of this split model are not beside it: {', '.join(missing)}{links}; download them too",
            path=str(path),
            missing=missing,
        )
    return files


def _header(path: Path, parts: list[_Part], files: tuple[Path, ...]) -> GgufHeader:
    """Put the parts together, check that llama.cpp can load the whole, and return its header."""
    values = parts[0].values
    tensors = Tensors.together([part.tensors for part in parts])
    declared = values.get("split.count")
    if isinstance(declared, int) and declared > 1 and declared != len(parts):
        raise _invalid(
            path, f"it is one of {declared} parts, but its name does not say so: rename the parts as they were"
        )
    try:
        shape = check_model(values, tensors)
    except Damaged as error:
        raise _invalid(path, str(error)) from error
    pooling = _integer(values, f"{shape.architecture}.pooling_type")
    is_reranker = pooling == POOLING_RANK or tensors.has_rank_head
    return GgufHeader(
        architecture=shape.architecture,
        name=_text(values, "general.name"),
        parameters=tensors.parameters,
        context_length=_integer(values, f"{shape.architecture}.context_length"),
        block_count=shape.block_count,
        embedding_length=shape.embedding_length,
        head_count=shape.head_count,
        head_count_kv=shape.head_count_kv,
        key_length=shape.key_length,
        value_length=shape.value_length,
        vocab_size=_integer(values, "tokenizer.ggml.tokens") or _integer(values, f"{shape.architecture}.vocab_size"),
        quantization=_quantization(values, tensors),
        chat_template=_text(values, "tokenizer.chat_template"),
        size_bytes=sum(part.size_bytes for part in parts),
        pooling_type=pooling,
        is_embedding=not is_reranker and (bool(pooling) or shape.architecture in ENCODERS),
        is_reranker=is_reranker,
        files=files,
    )


def _quantization(values: Mapping[str, Value], tensors: Tensors) -> str:
    """Return what the file calls its quantization, else the number format of most of its bytes."""
    declared = _integer(values, "general.file_type")
    return tensors.main_type if declared is None else FILE_TYPES.get(declared, tensors.main_type)


def _integer(values: Mapping[str, Value], key: str) -> int | None:
    value = values.get(key)
    return int(value) if isinstance(value, int) else None


def _text(values: Mapping[str, Value], key: str) -> str | None:
    value = values.get(key)
    return value if isinstance(value, str) and value else None


def _invalid(path: Path, reason: str) -> ModelFileInvalid:
    return ModelFileInvalid(f"{path} cannot be served: {reason}", path=str(path))


_BEGINNINGS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    (
        (b"version https://git-lfs",),
        "it is a git-lfs pointer, not the weights: run `git lfs pull` in its repository, or download the file itself",
    ),
    (
        (b"<!doctype html", b"<html", b"<?xml"),
        "it is a web page, so a download went wrong: download the file itself, not the page that describes it",
    ),
    ((b"pk\x03\x04",), "it is a ZIP archive or a PyTorch checkpoint: convert the model to GGUF"),
    (
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "it is a Python pickle (an old PyTorch checkpoint): convert the model to GGUF",
    ),
    (
        (b"lmgg", b"fmgg", b"tjgg"),
        "it is in the GGML format from before GGUF, which llama.cpp no longer reads: get a GGUF file of the model",
    ),
    ((b"\x1f\x8b",), "it is compressed with gzip: unpack it first"),
    ((b"{",), "it is JSON, probably an error message saved by a download: download the file again"),
)


def describe_foreign_format(head: bytes) -> str:
    """Return half a sentence on what the file that begins with ``head`` looks like and what to do."""
    if _is_safetensors(head):
        return "it is a safetensors file: convert it with llama.cpp's convert_hf_to_gguf.py, or serve a GGUF repository"
    text = head.lstrip().lower()
    for beginnings, description in _BEGINNINGS:
        if text.startswith(beginnings):
            return description
    if not any(head):
        return "it begins with zeros only, so a download was probably not finished: download it again"
    return f"it begins with {head[:4]!r} instead of b'GGUF': give a GGUF file"


def _is_safetensors(head: bytes) -> bool:
    """A safetensors file begins with the length of its JSON header, 8 bytes little-endian, and that header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000
