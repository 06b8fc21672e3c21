"""Engine options of vLLM, launch parameters and load configurations: nearly all of these are options of vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines import load_config
from modelhost.engines.adapters import split_name
from modelhost.engines.base import AcceptedParams
from modelhost.engines.launch_params import UNCHANGED, Found, Translate, accept_params, refused, without_effect
from modelhost.engines.load_config import AUTO, NO_CHANGE, NONE, FieldResult, LoadBaseline, LoadConfig, LoadOverrides
from modelhost.engines.options import check_options
from modelhost.engines.vllm.adapters import NEEDS_NAME
from modelhost.engines.vllm.traits import OWN_PARAMS
from modelhost.errors import ConfigError

NAME: Final = "vllm"
OPTIONS: Final[Mapping[str, Any]] = {
    "tensor_parallel_size": 1,  # GPUs that share each layer
    "pipeline_parallel_size": 1,  # groups of GPUs that each hold some of the layers
    "gpu_memory_utilization": 0.0,  # share of each GPU's memory to use; 0: what the slots need
    "dtype": "auto",  # float32, bfloat16, float16; auto: the model's own on a GPU, float32 on a CPU
    "quantization": "auto",  # awq, gptq ... or none; auto: from the model's config.json
    "enforce_eager": "auto",  # true, false; auto: true on a CPU, where compiling the model takes minutes
    "enable_prefix_caching": True,  # reuse computed beginnings of prompts
    "tool_call_parser": "auto",  # a parser of vLLM, or none; auto: from the model's template and family
    "reasoning_parser": "auto",  # the same, for reasoning
    "distributed_executor_backend": "auto",  # mp, ray, uni; auto: vLLM's choice
    "ray_address": "",  # address of the Ray cluster, for the executor ray
    "trust_remote_code": False,  # run Python files of the model
    "shutdown_timeout": 10,  # seconds for requests to finish at SIGTERM
    "arguments": [],  # further arguments for vLLM's server, passed unchanged
}
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "enforce_eager": ("auto", "true", "false"),
    "distributed_executor_backend": ("auto", "mp", "ray", "uni", "external_launcher"),
}


def check_values(options: Mapping[str, Any]) -> None:
    """Check the numbers in ``options``, which are complete, and what goes together.

    Raises:
        ConfigError: one is out of its range.
    """
    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        if options[name] < 1:
            raise ConfigError(f'engine option "{name}": {options[name]} is too small', param="engine_options")
    for name, most in (("gpu_memory_utilization", 1.0), ("shutdown_timeout", None)):
        if options[name] < 0 or (most is not None and options[name] > most):
            raise ConfigError(f'engine option "{name}": {options[name]} is out of its range', param="engine_options")
    if options["distributed_executor_backend"] == "uni" and options["tensor_parallel_size"] > 1:
        raise ConfigError(
            'engine option "distributed_executor_backend": uni is one process, and tensor_parallel_size wants several',
            param="engine_options",
        )


def accepted(params: Mapping[str, Any]) -> AcceptedParams:
    return accept_params(NAME, params, known_options=OPTIONS, own=_TRANSLATIONS, check_options=_problem)


def _problem(options: Mapping[str, Any]) -> str:
    try:
        check_values(check_options(NAME, options, OPTIONS, choices=CHOICES))
    except ConfigError as error:
        return error.message
    return ""


def _option(name: str) -> Translate:
    def translate(_: str, params: Mapping[str, Any]) -> Found:
        value = params[name]
        return {}, {name: str(value).lower() if name == "enforce_eager" else value}, "", ""

    return translate


def _device_ids(_: str, params: Mapping[str, Any]) -> Found:
    ids = params["device_ids"]
    if len(set(ids)) != len(ids):
        return {}, {}, f'"params.device_ids": a GPU is there twice in {ids}', ""
    env = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, ids))}
    return {"worker_env": env}, {}, "", ""


def _block_size(_: str, params: Mapping[str, Any]) -> Found:
    arguments = (params.get("engine_options") or {}).get("arguments")
    if arguments:
        return {}, {}, '"params.block_size" goes into the engine option arguments, which is given too; keep one', ""
    return {}, {"arguments": ["--block-size", str(params["block_size"])]}, "", ""


def _lora(_: str, params: Mapping[str, Any]) -> Found:
    if all(split_name(entry)[0] is not None for entry in params["lora"]):
        return {"lora": params["lora"]}, {}, "", ""
    return {}, {}, f'"params.lora": {NEEDS_NAME}', ""


def _prompt_cache(engine: str, params: Mapping[str, Any]) -> Found:
    if not params["prompt_cache"].get("enabled"):
        return UNCHANGED
    return without_effect("prompt_cache", "enable_prefix_caching keeps what it would")(engine, params)


_TRANSLATIONS: Mapping[str, Translate] = {
    "device_ids": _device_ids,
    "tensor_parallel_size": _option("tensor_parallel_size"),
    **{name: _option(name) for name in OWN_PARAMS},
    "block_size": _block_size,
    "prefill_chunk_size": without_effect("prefill_chunk_size", "it shares its steps out by itself"),
    "prompt_cache": _prompt_cache,
    "multithread": without_effect("multithread", "tensor_parallel_size says how many processes"),
    "isq": refused("isq", "take a model that is quantized already, with awq or gptq"),
    "gpu_layers": refused("gpu_layers", "the whole model is on the GPUs"),
    "lora": _lora,
    "draft_model": refused("draft_model", "the engine option arguments takes --speculative-config"),
}

WHILE_LOADING: Final = ("fp8", "bitsandbytes", "experts_int8", "torchao", "rtn", "deepspeedfp")
"""Methods by which vLLM quantizes while it loads; all others need files that are quantized already."""
UNQUANTIZED: Final = ("f32", "f16", "bf16", "f64", "float32", "float16", "bfloat16", "")
"""Names for files that are not quantized."""


def _present(baseline: LoadBaseline) -> dict[str, Any]:
    return check_options(NAME, baseline.spec.options, OPTIONS)


def _quantization(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    wanted, present = (config.quantization or "").lower(), _present(baseline)["quantization"]
    files = (baseline.quantization or "").lower()
    if wanted == present or {wanted, present} == {NONE, AUTO} or load_config.is_quantized_so(wanted, files):
        return NO_CHANGE
    if wanted in (NONE, AUTO) or (wanted in WHILE_LOADING and files in UNQUANTIZED):
        return LoadOverrides(options={"quantization": wanted})
    if files in UNQUANTIZED:
        return (
            f"it needs files that are quantized with {wanted}, and these are not quantized; while it loads, vllm "
            f"quantizes with {', '.join(WHILE_LOADING)}"
        )
    return f"it needs files that are quantized with {wanted}, and these are {baseline.quantization}"


def _parallel(name: str) -> load_config.FieldHandler:
    def honour(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        present = _present(baseline)
        wanted = getattr(config, name)
        if wanted == present[name]:
            return NO_CHANGE
        tensors = config.tensor_parallel_size or present["tensor_parallel_size"]
        stages = config.pipeline_parallel_size or present["pipeline_parallel_size"]
        is_here = present["distributed_executor_backend"] != "ray"
        if is_here and baseline.gpus and tensors * stages > len(baseline.gpus):
            return (
                f"tensor_parallel_size {tensors} and pipeline_parallel_size {stages} need {tensors * stages} GPUs, and "
                f"vllm can use {len(baseline.gpus)} here; the engine option ray_address lends those of a Ray cluster"
            )
        return LoadOverrides(options={name: wanted})

    return honour


def _share(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    if not baseline.gpus:
        return NO_CHANGE  # none is taken of any GPU
    return load_config.option_field(NAME, OPTIONS, "gpu_memory_utilization")(config, baseline)


def _eager(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    present = _present(baseline)["enforce_eager"]
    # False is vLLM's own default, which leaves the choice to the host's.
    is_so = not config.enforce_eager or not baseline.gpus if present == AUTO else None
    wanted = str(config.enforce_eager).lower()
    return NO_CHANGE if is_so or wanted == present else LoadOverrides(options={"enforce_eager": wanted})


HONOURS: Final[Mapping[str, load_config.FieldHandler]] = {
    "max_model_len": load_config.context_length_field,
    "dtype": load_config.dtype_field(NAME, OPTIONS),
    "quantization": _quantization,
    "tensor_parallel_size": _parallel("tensor_parallel_size"),
    "pipeline_parallel_size": _parallel("pipeline_parallel_size"),
    "gpu_memory_utilization": _share,
    "enforce_eager": _eager,
    "enable_prefix_caching": load_config.option_field(NAME, OPTIONS, "enable_prefix_caching"),
}
