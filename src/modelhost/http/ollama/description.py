"""A model of the host as Ollama describes one: in lists, and in detail."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from modelhost import json_text
from modelhost.engines.installed import serves
from modelhost.exchange.messages import message_json
from modelhost.http.ollama.names import shown_name, tagged
from modelhost.http.ollama.options import parameters_of
from modelhost.http.ollama.templates import shown_template
from modelhost.models.files.gguf import read_header, read_values, read_vocabulary
from modelhost.models.files.gguf_stream import Value
from modelhost.models.files.hf_directory import read_hf_directory
from modelhost.models.files.memory_pools import on_gpus
from modelhost.models.files.model_files import stamps_of
from modelhost.models.files.servability import takes_images
from modelhost.models.registry.created import CreatedModel
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.status import ModelStatus, State
from modelhost.models.resolve.inventory import mentions_tools

Json = dict[str, Any]

NEVER: Final = timedelta(days=100 * 365)
"""How far off ``expires_at`` is for a model that is never unloaded for want of requests."""
THINKING: Final = ("enable_thinking", "<think>", "reasoning_content", "<|channel|>")
"""What the templates of models that think contain, one or the other."""
FILL_IN_KEYS: Final = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")
TEMPLATE_KEY: Final = "tokenizer.chat_template"
CACHED_MODELS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the files of a model say."""

    format: str = ""
    architecture: str
    parameters: int | None = None
    quantization: str | None = None
    values: Mapping[str, Value]
    """In the words of GGUF."""
    is_embedding: bool = False
    is_reranker: bool = False
    can_see: bool = False
    modified_at: float | None = None


def facts_of(model: HostedModel) -> ModelFacts:
    """Return what the files of ``model`` say; of one without files here, what the host knows. Blocks.

    Raises:
        ModelFileMissing, ModelFileInvalid: the files have changed since they were found.
    """
    path = model.known.spec.path if model.known is not None else None
    if path is None or not (path.is_dir() or path.is_file()):
        return ModelFacts(architecture=model.engine.name, quantization=model.quantization, values={})
    if serves(model.engine.name, "script"):
        return ModelFacts(architecture=model.engine.name, values={}, modified_at=path.stat().st_mtime)
    (stamp,) = stamps_of([path]).values()
    return _of_directory(path, model.engine.name, stamp) if path.is_dir() else _of_gguf(path, stamp)


@lru_cache(CACHED_MODELS)
def _of_gguf(path: Path, _stamp: object) -> ModelFacts:
    header, (values, _) = read_header(path), read_values(path)
    return ModelFacts(
        format="gguf",
        architecture=header.architecture,
        parameters=header.parameters,
        quantization=header.quantization,
        values=values,
        is_embedding=header.is_embedding,
        is_reranker=header.is_reranker,
        modified_at=path.stat().st_mtime,
    )


@lru_cache(CACHED_MODELS)
def _of_directory(path: Path, engine: str, _stamp: object) -> ModelFacts:
    described = read_hf_directory(path)
    family = min(described.families, default=described.architecture)
    values: dict[str, Value] = {
        "general.architecture": family,
        f"{family}.embedding_length": described.embedding_length,
    }
    return ModelFacts(
        format="safetensors",
        architecture=family,
        parameters=described.weights.parameters,
        quantization=described.quantization,
        values={**values, f"{family}.context_length": described.context_length},
        is_reranker=described.is_reranker,
        is_embedding=not described.is_generating and not described.is_reranker,
        can_see=takes_images(described, engine),
        modified_at=path.stat().st_mtime,
    )


# What lists have.


def listed(
    model: HostedModel, status: ModelStatus, facts: ModelFacts, record: CreatedModel | None, adapter: str | None = None
) -> Json:
    """Return the entry of a model, or of the model with an adapter, in the list of models."""
    name = shown_name(model, adapter)
    parent = shown_name(model) if adapter is not None else _parent(record)
    return {
        "name": name,
        "model": name,
        "modified_at": _time(_modified(facts, record)),
        "size": status.size_bytes or 0,
        "digest": digest_of(model, adapter),
        "details": details_of(model, facts, parent),
    }


def loaded(model: HostedModel, status: ModelStatus, facts: ModelFacts, record: CreatedModel | None) -> Json:
    memory = status.memory_bytes or status.need_bytes or {}
    entry = listed(model, status, facts, record)
    del entry["modified_at"]
    return {
        **entry,
        "size": sum(memory.values()),
        "size_vram": sum(on_gpus(memory).values()),
        "expires_at": _time(_expiry(status)),
        "context_length": status.context_length or 0,
    }


def _expiry(status: ModelStatus) -> datetime:
    now = datetime.now(UTC)
    idle = status.idle_unload_seconds
    if idle is None or idle > NEVER.total_seconds():
        return now + NEVER
    used = max(status.last_used_at or 0, status.loaded_at or 0)
    begins = now if status.state is State.BUSY or not used else datetime.fromtimestamp(used, UTC)
    return begins + timedelta(seconds=idle)


def _modified(facts: ModelFacts, record: CreatedModel | None) -> datetime:
    at = record.created_at if record is not None else facts.modified_at
    return datetime.fromtimestamp(at or 0, UTC)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def digest_of(model: HostedModel, adapter: str | None = None) -> str:
    """Return 64 digits that change when the model does: its files, its adapters, its settings or its defaults.

    Two names of the same model have the same one. It is no digest of the weights, which would have to be read whole.
    """
    settings, entry = model.entry.settings, model.entry
    stamps = model.known.stamps if model.known is not None else {}
    parts = {
        "files": sorted([path.name, *(stamp or ())] for path, stamp in stamps.items() if path.is_file()),
        "model": [settings.model, settings.revision, settings.engine],
        "made": [settings.chat_template, settings.context_length, list(settings.lora), adapter],
        "defaults": sorted((name, str(value)) for name, value in model.defaults.items()),
        "preset": [entry.preset.system, *map(message_json, entry.preset.messages)],
    }
    return hashlib.sha256(json_text.encode(parts)).hexdigest()


def details_of(model: HostedModel, facts: ModelFacts, parent: str) -> Json:
    """Return what Ollama says of every model."""
    return {
        "parent_model": parent,
        "format": facts.format,
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": _size(facts.parameters),
        "quantization_level": model.quantization or facts.quantization or "",
    }


def _parent(record: CreatedModel | None) -> str:
    if record is None or record.kind == "pulled":
        return ""
    parent = record.parent or record.source.model or record.source.hub
    return tagged(parent) if parent else ""


def _size(parameters: int | None) -> str:
    """Return a number of parameters in the form ``7.6B``."""
    if parameters is None:
        return ""
    units = ((1_000_000_000, "B", 1), (1_000_000, "M", 2), (1_000, "K", 1))
    for unit, letter, digits in units:
        if parameters >= unit:
            return f"{parameters / unit:.{digits}f}{letter}"
    return str(parameters)


# A model in detail.


def shown(
    model: HostedModel, status: ModelStatus, facts: ModelFacts, record: CreatedModel | None, *, verbose: bool
) -> Json:
    """Return a model in detail; with ``verbose`` with its whole vocabulary. Blocks."""
    template = template_of(model)
    answer: Json = {
        "modelfile": "",
        "parameters": "\n".join(f"{name:<30} {_quoted(value)}" for name, value in parameters_of(model)),
        "template": template or "",
        "system": model.entry.preset.system or "",
        "license": "\n".join(_licenses(facts, record)),
        "details": details_of(model, facts, _parent(record)),
        "messages": [message_json(message) for message in model.entry.preset.messages],
        "model_info": _model_info(model, status, facts, verbose=verbose),
        "capabilities": capabilities_of(model, status, facts, template),
        "modified_at": _time(_modified(facts, record)),
    }
    answer["modelfile"] = _modelfile(model, answer, has_files=record is not None and bool(record.blobs))
    return {name: value for name, value in answer.items() if value or name not in ("system", "messages", "license")}


def template_of(model: HostedModel) -> str | None:
    """Return the chat template in force, if it is known before the model is loaded."""
    if model.known is not None:
        return model.known.spec.chat_template or model.known.spec.own_chat_template
    return shown_template(model.entry.settings.chat_template)


def thinks(template: str) -> bool:
    """Whether models with this chat template write their thinking before an answer."""
    return any(mark in template for mark in THINKING)


def capabilities_of(model: HostedModel, status: ModelStatus, facts: ModelFacts, template: str | None) -> list[str]:
    """Return what the model can do, in Ollama's words."""
    if facts.is_embedding:
        return ["embedding"]
    if facts.is_reranker:
        return []
    operations = frozenset(status.operations)
    encoder = model.known is not None and model.known.spec.mmproj_path is not None
    can = {
        "completion": not operations or bool(operations & {"chat", "completions"}),
        "tools": _calls_tools(model, operations, template),
        "insert": any(key in facts.values for key in FILL_IN_KEYS),
        "vision": status.sees_images if status.sees_images is not None else encoder or facts.can_see,
        "embedding": bool(operations) and not operations & {"chat", "completions"} and "embeddings" in operations,
        "thinking": template is not None and thinks(template),
    }
    return [name for name, is_so in can.items() if is_so]


def _calls_tools(model: HostedModel, operations: frozenset[str], template: str | None) -> bool:
    if model.calls_tools is not None:
        return model.calls_tools
    return mentions_tools(template) if template is not None else "chat" in operations or not operations


def _model_info(model: HostedModel, status: ModelStatus, facts: ModelFacts, *, verbose: bool) -> Json:
    """Return the values of the file; the context length is the one in force, which clients measure by."""
    family = facts.architecture
    values: Json = {name: value for name, value in facts.values.items() if name != TEMPLATE_KEY and value is not None}
    trained = values.get(f"{family}.context_length")
    path = model.known.spec.path if model.known is not None else None
    if facts.format == "gguf" and path is not None:
        arrays = read_vocabulary(path)
        values |= arrays if verbose else dict.fromkeys(arrays)
    in_force = status.context_length or trained
    return {
        **values,
        "general.architecture": family,
        **({} if facts.parameters is None else {"general.parameter_count": facts.parameters}),
        **({} if in_force is None else {f"{family}.context_length": in_force}),
        **({} if trained is None else {"modelhost.trained_context_length": trained}),
        "modelhost.engine": model.engine.name,
    }


def _licenses(facts: ModelFacts, record: CreatedModel | None) -> list[str]:
    if record is not None and record.licenses:
        return list(record.licenses)
    return [
        value
        for name in ("general.license", "general.license.link")
        if isinstance(value := facts.values.get(name), str)
    ]


def _modelfile(model: HostedModel, shown: Mapping[str, Any], *, has_files: bool) -> str:
    """Return the text from which Ollama's tools would make the model again, with the comments that Ollama begins with.

    Places on the host's disk are not shown: a model that has uploaded files of its own (``has_files``), such as
    adapters, or that was made of no other model, is made again from itself.
    """
    name, parent = shown_name(model), shown["details"]["parent_model"]
    lines = [
        '# Modelfile generated by "modelhost"',
        "# To build a new Modelfile based on this, replace FROM with:",
        f"# FROM {name}",
        "",
        f"FROM {name if has_files else parent or name}",
    ]
    lines += [f"PARAMETER {name} {_quoted(value)}" for name, value in parameters_of(model)]
    blocks = (("TEMPLATE", shown["template"]), ("SYSTEM", shown["system"]), ("LICENSE", shown["license"]))
    lines += [f'{name} """{text}"""' for name, text in blocks if text]
    lines += [f"MESSAGE {message['role']} {message['content']}" for message in shown["messages"]]
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    return json_text.encode(value).decode() if isinstance(value, str) else str(value)
