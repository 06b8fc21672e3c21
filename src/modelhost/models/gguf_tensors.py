"""The list of tensors in a GGUF header: counted, measured, and checked against the size of the file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelhost.models.gguf_format import DEFAULT_ALIGNMENT, MAX_DIMENSIONS, TENSOR_TYPES
from modelhost.models.gguf_stream import Damaged, HeaderStream, Value

MAX_TENSORS = 1 << 20
MAX_TENSOR_TYPES = 64
_SMALLEST_ENTRY_BYTES = 8 + 1 + 4 + 8 + 4 + 8
_RANK_HEADS = frozenset({"cls.weight", "cls.output.weight"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """What is worth knowing of all tensors together."""

    count: int
    parameters: int
    bytes_by_type: Mapping[str, int]
    has_attention: bool
    has_rank_head: bool

    @property
    def main_type(self) -> str:
        """The number format that holds most of the bytes."""
        return max(self.bytes_by_type, key=lambda name: self.bytes_by_type[name], default="unknown")

    @classmethod
    def together(cls, parts: Sequence[Tensors]) -> Tensors:
        """Return the sum over the parts of a split model."""
        bytes_by_type: Counter[str] = Counter()
        for part in parts:
            bytes_by_type.update(part.bytes_by_type)
        return cls(
            count=sum(part.count for part in parts),
            parameters=sum(part.parameters for part in parts),
            bytes_by_type=bytes_by_type,
            has_attention=any(part.has_attention for part in parts),
            has_rank_head=any(part.has_rank_head for part in parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    elements: int
    type_name: str
    byte_count: int
    offset: int


def read_tensors(stream: HeaderStream, count: int, alignment: Value, size_bytes: int) -> Tensors:
    """Read ``count`` entries from ``stream``, which began at the start of a file of ``size_bytes``.

    Raises:
        Damaged: an entry cannot be true, or the file ends before the last tensor does.
    """
    alignment = DEFAULT_ALIGNMENT if alignment is None else alignment
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise Damaged(f"its alignment {alignment!r} is not a power of two")
    if count > MAX_TENSORS:
        raise Damaged(f"it claims {count:,} tensors, which cannot be true")
    stream.require(count * _SMALLEST_ENTRY_BYTES)
    bytes_by_type: Counter[str] = Counter()
    names: set[str] = set()
    parameters = end = 0
    for _ in range(count):
        tensor = _read_tensor(stream)
        if tensor.name in names:
            raise Damaged(f"the tensor {tensor.name!r} is there twice")
        if tensor.offset % alignment:
            raise Damaged(f"the tensor {tensor.name!r} is not aligned to {alignment} bytes")
        names.add(tensor.name)
        parameters += tensor.elements
        bytes_by_type[tensor.type_name] += tensor.byte_count
        end = max(end, tensor.offset + tensor.byte_count)
    data_start = -(-stream.offset // alignment) * alignment
    if end and data_start + end > size_bytes:
        raise Damaged(
            f"the file ends at {size_bytes:,} bytes, and {data_start + end:,} are needed: "
            "it is incomplete, download it again"
        )
    return Tensors(
        count=count,
        parameters=parameters,
        bytes_by_type=bytes_by_type,
        has_attention=any(".attn_q" in name for name in names),
        has_rank_head=not names.isdisjoint(_RANK_HEADS),
    )


def _read_tensor(stream: HeaderStream) -> _Tensor:
    name = stream.text()
    dimension_count = stream.unsigned(4)
    if not 1 <= dimension_count <= MAX_DIMENSIONS:
        raise Damaged(f"the tensor {name[:64]!r} has {dimension_count} dimensions")
    shape = [stream.unsigned(8) for _ in range(dimension_count)]
    type_number, offset = stream.unsigned(4), stream.unsigned(8)
    elements = math.prod(shape)
    if not 0 < elements < 1 << 63:
        raise Damaged(f"the tensor {name[:64]!r} has the shape {shape}, which cannot be true")
    # A number a little past the known ones is probably newer than this table: its size is not checked.
    newer = (f"type {type_number}", 1, 0)
    type_name, block, block_bytes = TENSOR_TYPES.get(type_number, newer)
    if type_number not in TENSOR_TYPES and not max(TENSOR_TYPES) < type_number < MAX_TENSOR_TYPES:
        raise Damaged(f"the tensor {name[:64]!r} has the number format {type_number}, which this version does not know")
    if shape[0] % block:
        raise Damaged(
            f"the rows of the tensor {name[:64]!r} ({shape[0]}) are no multiple of {block}, as {type_name} needs"
        )
    byte_count = elements // block * block_bytes
    return _Tensor(name=name, elements=elements, type_name=type_name, byte_count=byte_count, offset=offset)
