"""The tensors of a GGUF file and the shape of the model that they make up, both checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from modelhost.models.files.gguf_format import ARCHITECTURES, DEFAULT_ALIGNMENT, MAX_DIMENSIONS, TENSOR_TYPES
from modelhost.models.files.gguf_stream import Damaged, HeaderStream, Value

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


MAX_BLOCKS = 512
"""``LLAMA_MAX_LAYERS``: llama.cpp aborts the process on more."""
MAX_HEADS = 1 << 16
MAX_LENGTH = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes that decide how much memory a model takes."""

    architecture: str
    block_count: int
    embedding_length: int
    head_count: int
    head_count_kv: tuple[int, ...]
    key_length: int
    value_length: int


def check_model(values: Mapping[str, Value], tensors: Tensors) -> ModelShape:
    """Return the shape of the model that ``values`` and ``tensors`` describe.

    Raises:
        Damaged: with the reason why it cannot be served.
    """
    architecture = _architecture(values)
    if tensors.count == 0:
        raise Damaged("it holds no weights (a vocabulary only?): give the model itself")
    blocks = _length(values, f"{architecture}.block_count", maximum=MAX_BLOCKS)
    embedding = _length(values, f"{architecture}.embedding_length")
    _length(values, f"{architecture}.context_length")
    heads = _per_block(values, f"{architecture}.attention.head_count", blocks)
    if tensors.has_attention and heads and not any(heads):
        raise Damaged(f"it has attention weights but {architecture}.attention.head_count is 0: the file is damaged")
    most_heads = max(heads, default=0)
    heads_kv = _per_block(values, f"{architecture}.attention.head_count_kv", blocks) or heads
    if any(kv > most_heads for kv in heads_kv):
        raise Damaged(
            f"it claims more key-value heads than heads ({max(heads_kv)} and {most_heads}): the file is damaged"
        )
    head_length = embedding // most_heads if most_heads else 0
    return ModelShape(
        architecture=architecture,
        block_count=blocks,
        embedding_length=embedding,
        head_count=most_heads,
        head_count_kv=heads_kv,
        key_length=_optional_length(values, f"{architecture}.attention.key_length", head_length),
        value_length=_optional_length(values, f"{architecture}.attention.value_length", head_length),
    )


def _architecture(values: Mapping[str, Value]) -> str:
    match values.get("general.type"):
        case "adapter":
            raise Damaged("it is a LoRA adapter, not a model: serve its base model and give this file with --lora")
        case "mmproj":
            raise Damaged("it is the vision or audio part of a model (mmproj): give the model itself")
        case "imatrix":
            raise Damaged("it is an importance matrix, not a model: give the model itself")
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise Damaged("it does not say its architecture (general.architecture)")
    if architecture == "clip":
        raise Damaged("it is the vision or audio part of a model (mmproj): give the model itself")
    if architecture not in ARCHITECTURES:
        close = get_close_matches(architecture[:64], ARCHITECTURES, n=1)
        hint = f" (the nearest that it knows is {close[0]})" if close else ""
        raise Damaged(
            f"llama.cpp does not know the architecture {architecture[:64]!r}{hint}: "
            "update modelhost, or serve another model"
        )
    return architecture


def _length(values: Mapping[str, Value], key: str, *, maximum: int = MAX_LENGTH) -> int:
    value = values.get(key)
    if value is None:
        raise Damaged(f"it does not say its {key}")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
        raise Damaged(f"its {key} is {str(value)[:64]}; possible are 1 to {maximum:,}: the file is damaged")
    return value


def _optional_length(values: Mapping[str, Value], key: str, default: int) -> int:
    return _length(values, key) if key in values else default


def _per_block(values: Mapping[str, Value], key: str, blocks: int) -> tuple[int, ...]:
    """Return one number a block: the file holds either one for all or an array of them; empty if it is silent."""
    value = values.get(key)
    if value is None:
        return ()
    numbers = value if isinstance(value, list) else [value] * blocks
    if len(numbers) < blocks:
        raise Damaged(f"its {key} has {len(numbers)} entries for {blocks} layers")
    checked = tuple(number for number in numbers if isinstance(number, int) and 0 <= number <= MAX_HEADS)
    if len(checked) != len(numbers):
        raise Damaged(f"its {key} is {str(value)[:64]}, which cannot be true")
    return checked[:blocks]
