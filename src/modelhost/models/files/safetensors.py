"""The headers of ``*.safetensors`` files, read without loading the weights.

Format: https://github.com/huggingface/safetensors#format: 8 bytes with the length of a JSON header, that header, and
the tensors without holes between them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from modelhost.config.paths import why_missing
from modelhost.errors import ModelFileInvalid, ModelFileMissing

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""``MAX_HEADER_SIZE`` of the safetensors library."""
_BY_BITS: Mapping[int, str] = {
    4: "F4",
    6: "F6_E2M3 F6_E3M2",
    8: "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
    16: "U16 I16 F16 BF16",
    32: "U32 I32 F32",
    64: "U64 I64 F64 C64",
}
DTYPE_BITS: Mapping[str, int] = {name: bits for bits, names in _BY_BITS.items() for name in names.split()}
"""Name of a number format -> bits of an element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the tensors of one file, or of all files of a model, are together."""

    parameters: int
    dtype: str
    """The number format of most of the bytes; ``none`` without any."""
    bytes_by_dtype: Mapping[str, int]
    size_bytes: int

    @classmethod
    def together(cls, parts: Sequence[Weights]) -> Weights:
        """Return the sum of ``parts``."""
        bytes_by_dtype: Counter[str] = Counter()
        for part in parts:
            bytes_by_dtype.update(part.bytes_by_dtype)
        return cls(
            parameters=sum(part.parameters for part in parts),
            dtype=max(bytes_by_dtype, key=lambda name: bytes_by_dtype[name], default="none"),
            bytes_by_dtype=bytes_by_dtype,
            size_bytes=sum(part.size_bytes for part in parts),
        )


def read_weights(path: Path) -> Weights:
    """Return what the header of the file at ``path`` says.

    Raises:
        ModelFileMissing: there is no file.
        ModelFileInvalid: it is not safetensors, damaged, or shorter than its tensors.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            tensors, start = _tensors(path, file, size_bytes)
    except FileNotFoundError as error:
        raise ModelFileMissing(f"{path}: {why_missing(path)}", path=str(path)) from error
    except OSError as error:
        raise _invalid(path, f"it cannot be read ({error})") from error
    return _summed(path, tensors, data_bytes=size_bytes - start, size_bytes=size_bytes)


def _tensors(path: Path, file: BinaryIO, size_bytes: int) -> tuple[dict[str, Any], int]:
    """Return the entries of the header, and where the data begins."""
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if size_bytes < LENGTH_BYTES:
        raise _invalid(path, f"it has {size_bytes} bytes only: download it again")
    if length > MAX_HEADER_BYTES:
        raise _invalid(path, f"it claims a header of {length:,} bytes, so it is not safetensors")
    if length > size_bytes - LENGTH_BYTES:
        raise _invalid(path, "it ends in the middle of its header: download it again")
    try:
        header = orjson.loads(file.read(length))
    except orjson.JSONDecodeError as error:
        raise _invalid(path, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _invalid(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    return header, LENGTH_BYTES + length


def _summed(path: Path, tensors: Mapping[str, Any], *, data_bytes: int, size_bytes: int) -> Weights:
    bytes_by_dtype: Counter[str] = Counter()
    parameters = end = 0
    for name, entry in tensors.items():
        dtype, elements, begin, tensor_end = _checked(path, name, entry)
        parameters += elements
        bytes_by_dtype[dtype] += tensor_end - begin
        end = max(end, tensor_end)
    if end > data_bytes:
        raise _invalid(
            path, f"it has {data_bytes:,} bytes of tensors, and {end:,} are needed: it is incomplete, download it again"
        )
    if end != data_bytes or sum(bytes_by_dtype.values()) != end:
        raise _invalid(path, "its tensors overlap or leave holes: the file is damaged")
    part = Weights(parameters=parameters, dtype="none", bytes_by_dtype=bytes_by_dtype, size_bytes=size_bytes)
    return Weights.together([part])


def _checked(path: Path, name: str, entry: Any) -> tuple[str, int, int, int]:
    """Return number format, elements, begin and end of one tensor."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if all(
            isinstance(length, int) and length >= 0 for length in shape
        ):
            pass
        case _:
            raise _invalid(path, f"the entry of the tensor {name[:64]!r} is not one: the file is damaged")
    if not 0 <= begin <= end:
        raise _invalid(path, f"the tensor {name[:64]!r} has the offsets {begin} to {end}: the file is damaged")
    elements, bits = math.prod(shape), DTYPE_BITS.get(dtype)
    if bits is not None and math.ceil(elements * bits / 8) != end - begin:
        raise _invalid(
            path, f"the tensor {name[:64]!r} has {end - begin:,} bytes, which do not fit {dtype} {shape}: it is damaged"
        )
    return dtype, elements, begin, end


def _invalid(path: Path, reason: str) -> ModelFileInvalid:
    return ModelFileInvalid(f"{path} cannot be used: {reason}", path=str(path))
