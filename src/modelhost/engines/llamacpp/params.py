"""Launch parameters of a registry entry, many of which are of other engines, and load configurations for llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from modelhost.engines import load_config
from modelhost.engines.base import AcceptedParams
from modelhost.engines.llamacpp.options import CHOICES, NAME, OPTIONS, REFUSED, split_problem
from modelhost.engines.load_config import AUTO, NO_CHANGE, NONE, FieldResult, LoadBaseline, LoadConfig, LoadOverrides
from modelhost.engines.options import MOST_SLOTS, check_options, problem_of_options

SETTINGS = (
    *("context_length", "slots", "max_slots", "threads", "gpu_layers", "kv_cache_type", "kv_cache_memory"),
    *("lora", "draft_model", "mmproj", "chat_template"),
)
"""Parameters that are settings of the same name."""
NUMBER_FORMATS = ("auto", "f16", "float16", "half", "bf16", "bfloat16", "f32", "float32", "float")

Found = tuple[Mapping[str, Any], str, str]
"""Settings, a problem, a warning; empty if there is none."""


def accepted(params: Mapping[str, Any]) -> AcceptedParams:
    settings: dict[str, Any] = {name: params[name] for name in SETTINGS if name in params}
    problems, warnings = [], []
    for name, translate in _TRANSLATIONS.items():
        if params.get(name) is not None:
            more, problem, warning = translate(params)
            settings |= more
            problems += [problem] if problem else []
            warnings += [warning] if warning else []
    options, problem = _options(params)
    problem = problem or problem_of_options(NAME, options, OPTIONS, choices=CHOICES, refused=REFUSED)
    if options:
        settings["engine_options"] = options
    return AcceptedParams(
        settings=settings, problems=(*problems, *([problem] if problem else [])), warnings=tuple(warnings)
    )


def _options(params: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    options = dict(params.get("engine_options") or {})
    chunk = params.get("prefill_chunk_size")
    if chunk is None:
        return options, ""
    if "batch_size" in options:
        return options, '"params.prefill_chunk_size" is the engine option batch_size, which is given too; keep one'
    return {**options, "batch_size": chunk}, ""


def _max_num_seqs(params: Mapping[str, Any]) -> Found:
    for name in ("slots", "max_slots"):
        if name in params:
            return {}, f'"params.max_num_seqs" and "params.{name}" are both given; keep one', ""
    # None: the bound is stronger than slots that were decided for all models.
    return {"max_slots": min(params["max_num_seqs"], MOST_SLOTS), "slots": None}, "", ""


def _cache_memory(params: Mapping[str, Any]) -> Found:
    gpu, cpu = params.get("kvcache_mem_gpu"), params.get("kvcache_mem_cpu")
    if "kv_cache_memory" in params:
        name = "kvcache_mem_gpu" if gpu else "kvcache_mem_cpu"
        return {}, f'"params.{name}" and "params.kv_cache_memory" bound the same; keep one', ""
    on_cpu = params.get("device_ids") == []
    chosen = (cpu or gpu) if on_cpu else (gpu or cpu)
    warning = ""
    if gpu and cpu and not on_cpu:
        warning = (
            '"params.kvcache_mem_cpu" has no effect: llama.cpp keeps the whole key-value cache in one place, which '
            '"params.kvcache_mem_gpu" bounds'
        )
    return {"kv_cache_memory": f"{chosen}MiB"}, "", warning


def _cpu_cache_memory(params: Mapping[str, Any]) -> Found:
    return ({}, "", "") if params.get("kvcache_mem_gpu") else _cache_memory(params)


def _device_ids(params: Mapping[str, Any]) -> Found:
    devices = params["device_ids"]
    if len(set(devices)) != len(devices):
        return {}, f'"params.device_ids": a GPU is there twice in {devices}', ""
    if devices:
        # In the order of nvidia-smi, in which the GPUs' memory is counted too; CUDA's own begins with the fastest.
        env = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}
        return {"worker_env": env}, "", ""
    if params.get("gpu_layers"):
        return {}, '"params.device_ids": [] is the CPU alone, so "params.gpu_layers" has no GPU; remove one of them', ""
    # Without this, a GPU that is there would still be used for large matrices of the prompt.
    return {"gpu_layers": 0, "worker_env": {"CUDA_VISIBLE_DEVICES": ""}}, "", ""


def _dtype(params: Mapping[str, Any]) -> Found:
    dtype = params["dtype"]
    if dtype.lower() not in NUMBER_FORMATS:
        return {}, f'"params.dtype": expected one of {", ".join(NUMBER_FORMATS)}, got "{dtype}"', ""
    if dtype.lower() == "auto":
        return {}, "", ""
    return {}, "", _without_effect("dtype", "the GGUF file decides the number format; choose another file")


def _isq(params: Mapping[str, Any]) -> Found:
    reason = (
        f'"params.isq": llama.cpp does not quantize while it loads; take a file that is quantized already: an hf_id '
        f'with GGUF files and "quantization: {params["isq"]}", or a weight_file'
    )
    return {}, reason, ""


def _compression(params: Mapping[str, Any]) -> Found:
    if params["kvcache_compression"].get("policy") == "disabled":
        return {}, "", ""
    reason = (
        '"params.kvcache_compression" is not part of llama.cpp; "kv_cache_type: q8_0" takes half of the memory, '
        "q4_0 about a quarter"
    )
    return {}, reason, ""


def _prompt_cache(params: Mapping[str, Any]) -> Found:
    if not params["prompt_cache"].get("enabled"):
        return {}, "", ""
    way_out = (
        "llama.cpp keeps the beginnings of prompts by itself, in memory; the engine option cache_ram_mib says how much"
    )
    return {}, "", _without_effect("prompt_cache", way_out)


def _multithread(params: Mapping[str, Any]) -> Found:
    way_out = "several GPUs are used if device_ids names them, and several cores by threads"
    return {}, "", _without_effect("multithread", way_out) if params["multithread"] else ""


def _block_size(_: Mapping[str, Any]) -> Found:
    return {}, "", _without_effect("block_size", "the key-value cache has no blocks; kv_cache_memory bounds it")


def _tensor_parallel(params: Mapping[str, Any]) -> Found:
    if params["tensor_parallel_size"] == 1:
        return {}, "", ""
    reason = (
        '"params.tensor_parallel_size": llama.cpp does not split tensors between processes; device_ids lays the layers '
        "out over several GPUs"
    )
    return {}, reason, ""


def _without_effect(name: str, way_out: str) -> str:
    return f'"params.{name}" has no effect with llama.cpp: {way_out}'


_TRANSLATIONS: Mapping[str, Callable[[Mapping[str, Any]], Found]] = {
    "max_num_seqs": _max_num_seqs,
    "kvcache_mem_gpu": _cache_memory,
    "kvcache_mem_cpu": _cpu_cache_memory,
    "device_ids": _device_ids,
    "dtype": _dtype,
    "isq": _isq,
    "kvcache_compression": _compression,
    "prompt_cache": _prompt_cache,
    "multithread": _multithread,
    "block_size": _block_size,
    "tensor_parallel_size": _tensor_parallel,
}


def _split_field(name: str) -> load_config.FieldHandler:
    def handle(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        present = check_options(NAME, baseline.spec.options, OPTIONS)
        requested = {
            "tensor_parallel_size": config.tensor_parallel_size,
            "pipeline_parallel_size": config.pipeline_parallel_size,
        }
        sizes = {size: present[size] if value is None else value for size, value in requested.items()}
        wanted = sizes[name]
        if wanted == present[name]:
            return NO_CHANGE
        problem = split_problem(sizes["tensor_parallel_size"], sizes["pipeline_parallel_size"], baseline.gpus)
        return problem or LoadOverrides(options={name: wanted})

    return handle


def _dtype_field(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    wanted = load_config.DTYPES.get((config.dtype or "").lower())
    if wanted == AUTO or (wanted is not None and wanted == baseline.dtype):
        return NO_CHANGE
    return (
        f"llama.cpp computes in the format of the GGUF file, and this one is {baseline.quantization}; "
        "take a file in that format, such as org/name:F16 or org/name:BF16 of the hub"
    )


def _quantization_field(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    wanted = config.quantization or ""
    if wanted.lower() in (NONE, AUTO) or load_config.is_quantized_so(wanted.lower(), baseline.quantization):
        return NO_CHANGE
    return (
        f"a GGUF file is quantized when it is made, and this one is {baseline.quantization}; take a file that is "
        "quantized so, such as org/name:Q8_0 of the hub, or files in safetensors with another engine"
    )


FIELD_HANDLERS: Final[Mapping[str, load_config.FieldHandler]] = {
    "max_model_len": load_config.context_length_field,
    "dtype": _dtype_field,
    "quantization": _quantization_field,
    "gpu_memory_utilization": load_config.gpu_share_field,
    **{name: _split_field(name) for name in ("tensor_parallel_size", "pipeline_parallel_size")},
    **{name: load_config.option_field(NAME, OPTIONS, name) for name in ("enforce_eager", "enable_prefix_caching")},
}
