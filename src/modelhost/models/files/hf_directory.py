"""A model directory as Hugging Face's libraries write it: ``config.json``, a tokenizer, and ``*.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from modelhost.config.paths import is_file_or_link, why_missing
from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.files.safetensors import Weights, read_weights

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
MODULES, SENTENCE_TRANSFORMERS = "modules.json", "sentence_transformers"
"""The file of a model for sentence embeddings, and what it adds to the families."""
SUFFIX = ".safetensors"
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
    kv_elements_per_token: int
    """Numbers that the key-value cache holds of a token."""
    vocab_size: int | None
    embedding_length: int | None


def is_hf_directory(names: set[str]) -> bool:
    """Whether a directory with files of these ``names`` is such a model."""
    return CONFIG in names and (INDEX in names or any(name.endswith(SUFFIX) for name in names))


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
        kv_elements_per_token=_kv_elements_per_token(text),
        vocab_size=_count(text, "vocab_size"),
        embedding_length=_count(text, *WIDTH_KEYS),
    )


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of ``config`` for what writes tokens."""
    key = "decoder_config" if config.get("model_type") in DECODING else "text_config"
    part = config.get(key)
    return part if isinstance(part, dict) else config


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
    for name in ("tokenizer_config.json", "chat_template.json"):
        path = directory / name
        template = _json(path).get("chat_template") if is_file_or_link(path) else None
        if isinstance(template, list):  # several by name
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default") or next(iter(named.values()), None)
        if isinstance(template, str) and template:
            return template
    return None


def _count(values: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first of ``keys`` that is a number above 0."""
    found = (values.get(key) for key in keys)
    return next((each for each in found if isinstance(each, int) and not isinstance(each, bool) and each > 0), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelFileMissing(f"{path}: {why_missing(path)}", path=str(path)) from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise ModelFileInvalid(f"{path} is not readable JSON ({error}): download it again", path=str(path)) from error
    if not isinstance(value, dict):
        raise ModelFileInvalid(f"{path} is not a JSON object: download it again", path=str(path))
    return value
