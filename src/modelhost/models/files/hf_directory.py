"""A model directory as Hugging Face's libraries write it: ``config.json``, a tokenizer, and ``*.safetensors``.

Of weights only the headers are read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from modelhost.config.paths import is_file_or_link, why_missing
from modelhost.engines.transformers.vision_kinds import PROCESSOR_FILES
from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.files.image_encoder import image_work_bytes

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
    """Return what the header of the file at ``path`` says: 8 bytes with its length, then JSON, then the tensors.

    Format: https://github.com/huggingface/safetensors#format

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
        raise invalid(path, f"it cannot be read ({error})") from error
    return _summed(path, tensors, data_bytes=size_bytes - start, size_bytes=size_bytes)


def _tensors(path: Path, file: BinaryIO, size_bytes: int) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if size_bytes < LENGTH_BYTES:
        raise invalid(path, f"it has {size_bytes} bytes only: download it again")
    if length > MAX_HEADER_BYTES:
        raise invalid(path, f"it claims a header of {length:,} bytes, so it is not safetensors")
    if length > size_bytes - LENGTH_BYTES:
        raise invalid(path, "it ends in the middle of its header: download it again")
    try:
        header = orjson.loads(file.read(length))
    except orjson.JSONDecodeError as error:
        raise invalid(path, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise invalid(path, "its header is not a JSON object")
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
        raise invalid(
            path, f"it has {data_bytes:,} bytes of tensors, and {end:,} are needed: it is incomplete, download it again"
        )
    if end != data_bytes or sum(bytes_by_dtype.values()) != end:
        raise invalid(path, "its tensors overlap or leave holes: the file is damaged")
    part = Weights(parameters=parameters, dtype="none", bytes_by_dtype=bytes_by_dtype, size_bytes=size_bytes)
    return Weights.together([part])


def _checked(path: Path, name: str, entry: Any) -> tuple[str, int, int, int]:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if all(
            isinstance(length, int) and length >= 0 for length in shape
        ):
            pass
        case _:
            raise invalid(path, f"the entry of the tensor {name[:64]!r} is not one: the file is damaged")
    if not 0 <= begin <= end:
        raise invalid(path, f"the tensor {name[:64]!r} has the offsets {begin} to {end}: the file is damaged")
    elements, bits = math.prod(shape), DTYPE_BITS.get(dtype)
    if bits is not None and math.ceil(elements * bits / 8) != end - begin:
        raise invalid(
            path, f"the tensor {name[:64]!r} has {end - begin:,} bytes, which do not fit {dtype} {shape}: it is damaged"
        )
    return dtype, elements, begin, end


def invalid(path: Path, reason: str) -> ModelFileInvalid:
    return ModelFileInvalid(f"{path} cannot be used: {reason}", path=str(path))


CONFIG, INDEX = "config.json", "model.safetensors.index.json"
MODULES, SENTENCE_TRANSFORMERS = "modules.json", "sentence_transformers"
"""The file of a model for sentence embeddings, and what it adds to the families."""
SUFFIX = ".safetensors"
TOKENIZER_CONFIG, OWN_CODE = "tokenizer_config.json", "auto_map"
VOCABULARY_BEGINS, VOCABULARY_ENDS = ("tokenizer.", "vocab"), (".model", ".tiktoken", ".spm", ".tokenizer")
VOCABULARIES = frozenset({"tekken.json", "merges.txt", "dict.txt", "bpe.codes", "byte_maps.json"})
"""What the files with a vocabulary are called: ``VOCAB_FILES_NAMES`` of the tokenizers in transformers."""
WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
"""Tokenizers that take bytes or characters as they are."""
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")
LAYERS_KEYS, HEADS_KEYS = ("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head")
WIDTH_KEYS = ("hidden_size", "n_embd")
"""The second names are those of GPT-2 and of what was made after it."""
CODECS = {"dia": ("dac", "dac_44khz")}
"""Folders with a part of a model that is a model of its own, by ``model_type``."""
DECODING = frozenset({"dia"})
"""Models whose text configuration is called ``decoder_config``."""
GENERATING = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


@dataclass(frozen=True, slots=True, kw_only=True)
class HfModel:
    """What a directory says of its model. ``None`` means that it is silent."""

    architecture: str
    model_type: str | None
    families: frozenset[str]
    """``model_type`` of the model and of the part of it that writes, and ``SENTENCE_TRANSFORMERS``."""
    weights: Weights
    quantization: str
    is_quantized: bool
    """Whether its weights are packed, several of them in one number."""
    declared_dtype: str | None
    """The number format that it was made in."""
    context_length: int | None
    chat_template: str | None
    is_generating: bool
    is_reranker: bool
    can_see: bool
    """Whether it is made for images."""
    has_image_processor: bool
    """Whether a file says how images are read."""
    has_tokenizer: bool
    has_own_code: bool
    """Whether it names Python files of its own for the library to run."""
    image_work_bytes: int
    """For the work on one image."""
    kv_elements_per_token: int
    """Numbers that the key-value cache holds of a token."""
    vocab_size: int | None
    embedding_length: int | None


def is_hf_directory(names: set[str]) -> bool:
    """Whether a directory with files of these ``names`` is such a model."""
    return CONFIG in names and (INDEX in names or any(name.endswith(SUFFIX) for name in names))


def describes_model(directory: Path) -> bool:
    """Whether ``config.json`` in ``directory`` is that of a model, with weights or without; other programs use the
    name, too."""
    try:
        config = _json(directory / CONFIG)
    except (ModelFileMissing, ModelFileInvalid):
        return False  # of whatever it is the file
    return "model_type" in config or "architectures" in config


def read_hf_directory(directory: Path) -> HfModel:
    """Return what the files in ``directory`` say, without loading the weights.

    Raises:
        ModelFileMissing: a file is not there that has to be.
        ModelFileInvalid: a file is damaged.
    """
    config = _json(directory / CONFIG)
    text = _text_config(config)
    names = config.get("architectures")
    architecture = str(names[0]) if isinstance(names, list) and names else str(config.get("model_type", "unknown"))
    weights = Weights.together([read_weights(path) for path in _weight_files(directory, config)])
    return HfModel(
        architecture=architecture,
        model_type=str(config["model_type"]) if "model_type" in config else None,
        families=_families(directory, config, text),
        weights=weights,
        quantization=_quantization(config, weights),
        is_quantized="quantization" in config or "quantization_config" in config,
        declared_dtype=_declared_dtype(config, text),
        context_length=_count(text, *CONTEXT_KEYS),
        chat_template=_chat_template(directory),
        is_generating=architecture.endswith(GENERATING),
        is_reranker=architecture.endswith("ForSequenceClassification"),
        can_see="vision_config" in config or "visual" in config,
        has_image_processor=any(is_file_or_link(directory / name) for name in PROCESSOR_FILES),
        has_tokenizer=_has_tokenizer(directory),
        has_own_code=OWN_CODE in config,
        image_work_bytes=image_work_bytes(config, _image_processor(directory)) if "vision_config" in config else 0,
        kv_elements_per_token=_kv_elements_per_token(text),
        vocab_size=_count(text, "vocab_size"),
        embedding_length=_count(text, *WIDTH_KEYS),
    )


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of ``config`` for what writes tokens."""
    key = "decoder_config" if config.get("model_type") in DECODING else "text_config"
    part = config.get(key)
    return part if isinstance(part, dict) else config


def _image_processor(directory: Path) -> Mapping[str, Any]:
    """Return the configuration of what reads images: a file of its own, or in newer directories a part of another."""
    own, shared = (directory / name for name in PROCESSOR_FILES)
    if is_file_or_link(own):
        return _json(own)
    part = _json(shared).get("image_processor") if is_file_or_link(shared) else None
    return part if isinstance(part, dict) else {}


def _has_tokenizer(directory: Path) -> bool:
    """Whether a vocabulary is here, or a tokenizer that does without one or brings code of its own."""
    names = [path.name for path in directory.iterdir() if path.is_file()]
    if any(
        name in VOCABULARIES or name.startswith(VOCABULARY_BEGINS) or name.endswith(VOCABULARY_ENDS) for name in names
    ):
        return True
    config = _json(directory / TOKENIZER_CONFIG) if TOKENIZER_CONFIG in names else {}
    return OWN_CODE in config or str(config.get("tokenizer_class")).startswith(WITHOUT_VOCABULARY)


def _families(directory: Path, *configs: Mapping[str, Any]) -> frozenset[str]:
    found = {str(each["model_type"]) for each in configs if "model_type" in each}
    return frozenset(found | {SENTENCE_TRANSFORMERS} if is_file_or_link(directory / MODULES) else found)


def _weight_files(directory: Path, config: Mapping[str, Any]) -> list[Path]:
    """Return the files of the weights, with those of a codec."""
    folders = (directory / name for name in CODECS.get(str(config.get("model_type")), ()))
    codec = next((folder for folder in folders if is_file_or_link(folder / CONFIG)), None)
    return [*_own_weight_files(directory), *(_own_weight_files(codec) if codec is not None else ())]


def _own_weight_files(directory: Path) -> list[Path]:
    """Return the files of the weights in ``directory``: those that the index names, else all."""
    if is_file_or_link(directory / INDEX):
        parts = _json(directory / INDEX).get("weight_map")
        if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
            raise ModelFileInvalid(f"{directory / INDEX} names no files of weights: download it again")
        return [directory / Path(name).name for name in sorted(set(parts.values()))]
    found = sorted(directory.glob(f"*{SUFFIX}"))
    whole = directory / f"model{SUFFIX}"
    return [whole] if whole in found else found


def _quantization(config: Mapping[str, Any], weights: Weights) -> str:
    method = config.get("quantization_config")
    if isinstance(method, dict) and isinstance(method.get("quant_method"), str):
        bits = method.get("bits")
        return f"{method['quant_method']}-{bits}bit" if isinstance(bits, int) else str(method["quant_method"])
    return weights.dtype


def _declared_dtype(config: Mapping[str, Any], text: Mapping[str, Any]) -> str | None:
    """Return what transformers calls ``dtype``, and before version 5 ``torch_dtype``."""
    named = [each.get(key) for each in (text, config) for key in ("dtype", "torch_dtype")]
    return next((name.removeprefix("torch.") for name in named if isinstance(name, str) and name), None)


def _kv_elements_per_token(text: Mapping[str, Any]) -> int:
    layers, heads = _count(text, *LAYERS_KEYS) or 0, _count(text, *HEADS_KEYS) or 0
    width = _count(text, *WIDTH_KEYS) or 0
    kv_heads = _count(text, "num_key_value_heads") or heads
    head_length = _count(text, "head_dim") or (width // heads if heads else 0)
    return 2 * layers * kv_heads * head_length


def _chat_template(directory: Path) -> str | None:
    """Return the template: a file of its own in newer directories, before that a value in the tokenizer's.

    In some that see, it was a value in a file of the processor's.
    """
    own = directory / "chat_template.jinja"
    try:
        if is_file_or_link(own):
            return own.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelFileMissing(f"{own}: {why_missing(own)}", path=str(own)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileInvalid(f"{own} cannot be read: {error}", path=str(own)) from error
    for name in (TOKENIZER_CONFIG, "chat_template.json"):
        path = directory / name
        template = _json(path).get("chat_template") if is_file_or_link(path) else None
        if isinstance(template, list):  # several by name
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default") or next(iter(named.values()), None)
        if isinstance(template, str) and template:
            return template
    return None


def _count(values: Mapping[str, Any], *keys: str) -> int | None:
    found = (values.get(key) for key in keys)
    return next((each for each in found if isinstance(each, int) and not isinstance(each, bool) and each > 0), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelFileMissing(f"{path}: {why_missing(path)}", path=str(path)) from error
    except OSError as error:
        raise ModelFileInvalid(f"{path} cannot be read: {error.strerror or error}", path=str(path)) from error
    except orjson.JSONDecodeError as error:
        raise ModelFileInvalid(f"{path} is not readable JSON ({error}): download it again", path=str(path)) from error
    if not isinstance(value, dict):
        raise ModelFileInvalid(f"{path} is not a JSON object: download it again", path=str(path))
    return value
