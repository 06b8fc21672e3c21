"""Launch parameters of a registry entry, as engines for safetensors accept them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from modelhost.engines.base import AcceptedParams
from modelhost.engines.options import MOST_SLOTS

SETTINGS = ("context_length", "slots", "max_slots", "threads", "chat_template", "kv_cache_memory")
"""Parameters that are settings of the same name."""
DTYPES = {"f16": "float16", "half": "float16", "bf16": "bfloat16", "f32": "float32", "float": "float32"}

Found = tuple[Mapping[str, Any], Mapping[str, Any], str, str]
"""Settings, engine options, a problem, a warning; empty if there is none."""
UNCHANGED: Found = ({}, {}, "", "")
Translate = Callable[[str, Mapping[str, Any]], Found]


def accept_params(
    engine: str,
    params: Mapping[str, Any],
    *,
    known_options: Mapping[str, Any],
    own: Mapping[str, Translate] = MappingProxyType({}),
    check_options: Callable[[Mapping[str, Any]], str],
) -> AcceptedParams:
    """Return ``params`` as settings.

    ``own`` has the translations that differ from those of engines that are Python libraries. ``check_options`` returns
    the problem with engine options, or an empty text.
    """
    settings: dict[str, Any] = {name: params[name] for name in SETTINGS if name in params}
    options: dict[str, Any] = dict(params.get("engine_options") or {})
    problems, warnings = [], []
    for name, translate in {**_TRANSLATIONS, **own}.items():
        if params.get(name) is None:
            continue
        more, more_options, problem, warning = translate(engine, params)
        unknown = more_options.keys() - known_options.keys()
        twice = more_options.keys() & options.keys()
        if unknown:
            problem = f'"params.{name}" is not for {engine}'
        elif twice:
            problem = f'"params.{name}" is the engine option {min(twice)}, which is given too; keep one'
        settings |= more
        options |= more_options
        problems += [problem] if problem else []
        warnings += [warning] if warning else []
    if not problems and (problem := check_options(options)):
        problems.append(problem)
    if options:
        settings["engine_options"] = options
    return AcceptedParams(settings=settings, problems=tuple(problems), warnings=tuple(warnings))


def _max_num_seqs(_: str, params: Mapping[str, Any]) -> Found:
    for name in ("slots", "max_slots"):
        if name in params:
            return {}, {}, f'"params.max_num_seqs" and "params.{name}" are both given; keep one', ""
    # None: the bound is stronger than slots that were decided for all models.
    return {"max_slots": min(params["max_num_seqs"], MOST_SLOTS), "slots": None}, {}, "", ""


def _cache_memory(_: str, params: Mapping[str, Any]) -> Found:
    if "kv_cache_memory" in params:
        return {}, {}, '"params.kv_cache_memory" bounds the same as "params.kvcache_mem_gpu" and "_cpu"; keep one', ""
    bound = params.get("kvcache_mem_gpu") or params.get("kvcache_mem_cpu")
    return {"kv_cache_memory": f"{bound}MiB"}, {}, "", ""


def _prefill_chunk_size(_: str, params: Mapping[str, Any]) -> Found:
    return {}, {"batch_size": params["prefill_chunk_size"]}, "", ""


def _dtype(engine: str, params: Mapping[str, Any]) -> Found:
    wanted = params["dtype"].lower()
    return UNCHANGED if wanted == "auto" else ({}, {"dtype": DTYPES.get(wanted, wanted)}, "", "")


def _device_ids(engine: str, params: Mapping[str, Any]) -> Found:
    ids = params["device_ids"]
    if len(ids) > 1:
        return {}, {}, f'"params.device_ids": {engine} uses one GPU; name one', ""
    visible = ",".join(map(str, ids))
    return {"worker_env": {"CUDA_VISIBLE_DEVICES": visible}}, {"device": "cuda" if ids else "cpu"}, "", ""


def refused(name: str, way_out: str) -> Translate:
    """Return the translation of a parameter that the engine does not support."""
    return lambda engine, _: ({}, {}, f'"params.{name}": {engine} cannot do that; {way_out}', "")


def _compression(engine: str, params: Mapping[str, Any]) -> Found:
    if params["kvcache_compression"].get("policy") == "disabled":
        return UNCHANGED
    return refused("kvcache_compression", "leave it out, or set its policy to disabled")(engine, params)


def _tensor_parallel(engine: str, params: Mapping[str, Any]) -> Found:
    if params["tensor_parallel_size"] == 1:
        return UNCHANGED
    return refused("tensor_parallel_size", "it works on one device")(engine, params)


def _kv_cache_type(engine: str, params: Mapping[str, Any]) -> Found:
    if params["kv_cache_type"] == "f16":
        return UNCHANGED
    return refused("kv_cache_type", "it keeps keys and values in the number format of the model")(engine, params)


def without_effect(name: str, reason: str) -> Translate:
    """Return the translation of a parameter that changes nothing with the engine."""
    return lambda engine, _: ({}, {}, "", f'"params.{name}" has no effect with {engine}: {reason}')


_PREFIXES = "it keeps the beginnings of prompts by itself; the engine option cache_ram_mib says how much"
_TRANSLATIONS: Mapping[str, Translate] = {
    "max_num_seqs": _max_num_seqs,
    "kvcache_mem_gpu": _cache_memory,
    "kvcache_mem_cpu": lambda engine, params: (
        UNCHANGED if params.get("kvcache_mem_gpu") else _cache_memory(engine, params)
    ),
    "prefill_chunk_size": _prefill_chunk_size,
    "dtype": _dtype,
    "device_ids": _device_ids,
    "kv_cache_type": _kv_cache_type,
    "kvcache_compression": _compression,
    "tensor_parallel_size": _tensor_parallel,
    "isq": refused("isq", "take a model that is quantized already"),
    "gpu_layers": refused("gpu_layers", "the whole model is on one device"),
    "lora": refused("lora", "serve a model that the adapter is merged into"),
    "draft_model": refused("draft_model", "llama.cpp can, with GGUF files"),
    "mmproj": refused("mmproj", "the vision encoder is among the model's own files"),
    "prompt_cache": without_effect("prompt_cache", _PREFIXES),
    "multithread": without_effect("multithread", "threads says how many cores are used"),
    "block_size": without_effect("block_size", "the key-value cache has no blocks; kv_cache_memory bounds it"),
}
