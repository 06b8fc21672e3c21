"""Whether a GGUF header describes a model that llama.cpp can load. Pure: values in, a shape or a reason out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from modelhost.models.gguf_format import ARCHITECTURES
from modelhost.models.gguf_stream import Damaged, Value
from modelhost.models.gguf_tensors import Tensors

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
