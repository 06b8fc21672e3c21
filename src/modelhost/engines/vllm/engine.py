"""vLLM: safetensors on GPUs, and on CPUs with its build for CPUs (https://github.com/vllm-project/vllm)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import AcceptedParams, Engine
from modelhost.engines.installed import torch_uses_gpus
from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.load_config import ConfiguredLoad, LoadBaseline, LoadConfig, configure_load
from modelhost.engines.options import check_options, check_settings
from modelhost.engines.prompting import prompt_config
from modelhost.engines.vllm.adapters import ServedAdapters, adapter_places, served_adapters
from modelhost.engines.vllm.dialect import FIELDS, adapt_request, convert_answer, error_from
from modelhost.engines.vllm.families import AUTO, NONE
from modelhost.engines.vllm.params import CHOICES, HONOURS, OPTIONS, accepted, check_values
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import WRITING, Task
from modelhost.monitor.engine_reports import EngineMetrics

SERVER: Final = "vllm.entrypoints.openai.api_server"
FALLBACK_CONTEXT: Final = 4096
LARGEST_BLOCK: Final = 128
"""The block size of vLLM's cache in tokens: on CPUs this size, on most GPUs 16."""
CACHE_MARGIN: Final = 1.1  # for what a model's layers keep in addition to keys and values
LEAST_UTILIZATION: Final = 0.01
"""A share of the GPU's memory. vLLM does not start with less free memory, even where the size of the cache is given."""
STRUCTURED_OUTPUTS: Final = '{"backend": "xgrammar", "disable_any_whitespace": true}'
"""One backend, and the one that supports vLLM's grammars of tool calls: by default vLLM picks the one that suits the
first request, keeps it, and fails at later requests that need another. Blanks are restricted because small models may
write them forever."""
UNSUPPORTED_SETTINGS: Final[Mapping[str, str]] = {
    "draft_path": "name the draft model in the engine option arguments (--speculative-config)",
    "mmproj_path": "the vision encoder is among the model's own files",
    "gpu_layers": "the whole model is on the GPUs; tensor_parallel_size spreads it over several",
}
"""Settings that vLLM does not support, and the alternatives."""


METRICS: Final = EngineMetrics(
    prefix="vllm:",
    kv_usage=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    running="vllm:num_requests_running",
    drafted="vllm:spec_decode_num_draft_tokens_total",
    accepted="vllm:spec_decode_num_accepted_tokens_total",
)
"""https://docs.vllm.ai/en/latest/usage/metrics.html"""


class Vllm(Engine):
    """vLLM, with its own server as the worker."""

    name = "vllm"
    request_fields = FIELDS
    metrics = METRICS
    adapters = ServedAdapters()

    def tasks(self, spec: ModelSpec) -> tuple[Task, ...]:
        return WRITING

    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        return accepted(params)

    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        return configure_load(HONOURS, config, baseline)

    def finds_gpus(self, python: str, _options: Mapping[str, Any], _env: Mapping[str, str]) -> bool:
        return torch_uses_gpus(python)

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        options = check_options(self.name, spec.options, OPTIONS, choices=CHOICES)
        check_values(options)
        check_settings(
            self.name, spec, UNSUPPORTED_SETTINGS, instead="the engine option arguments takes its --kv-cache-dtype"
        )
        context_length = spec.context_length or FALLBACK_CONTEXT
        python = spec.python or sys.executable
        config = {
            "command": [python, "-m", SERVER, *_arguments(spec, options, context_length)],
            "name": spec.name,
            "path": str(spec.path),
            "api_key": api_key,
            "context_length": context_length,
            "slots": spec.slots or 1,
            "is_alone": _processes(options) == 1,
            "dtype": options["dtype"] if options["dtype"] != AUTO or spec.gpus else None,
            "tool_call_parser": options["tool_call_parser"],
            "reasoning_parser": options["reasoning_parser"],
            "adapters": served_adapters(spec),
            "adapter_places": adapter_places(spec),
            **prompt_config(spec),
        }
        return Launch(
            argv=(sys.executable, "-m", "modelhost.engines.vllm.worker"),
            env={"VLLM_API_KEY": api_key, **_environment(spec, options), **spec.env},
            config=config,
            memory_phrases=("out of memory", "can't allocate memory", "bad_alloc", "no available memory for the cache"),
        )

    def advice(self, task: Task) -> str:
        return "vllm writes text here; llama.cpp makes embeddings." if task in {"embeddings", "rerank"} else ""

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        return adapt_request(task, body)

    def convert_answer(self, task: Task, data: bytes) -> bytes:
        return convert_answer(task, data)

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        return error_from(status, payload, model=model, worker=worker)


ENGINE: Final[Engine] = Vllm()


def _arguments(spec: ModelSpec, options: Mapping[str, Any], context_length: int) -> list[str]:
    """Return the arguments of vLLM's server that the host determines."""
    flags = {
        "--model": spec.path,
        "--served-model-name": spec.name,
        "--max-model-len": context_length,
        "--max-num-seqs": spec.slots or 1,
        "--tensor-parallel-size": options["tensor_parallel_size"],
        "--pipeline-parallel-size": options["pipeline_parallel_size"],
        "--structured-outputs-config": STRUCTURED_OUTPUTS,
        "--shutdown-timeout": options["shutdown_timeout"],
        **_memory(spec, options, context_length),
    }
    if (backend := _backend(spec, options)) != AUTO:
        flags["--distributed-executor-backend"] = backend
    if options["quantization"] not in (AUTO, NONE):
        flags["--quantization"] = options["quantization"]
    switches = {
        "--enforce-eager": _is_eager(spec, options),
        "--enable-prefix-caching": options["enable_prefix_caching"],
        "--no-enable-prefix-caching": not options["enable_prefix_caching"],
        "--trust-remote-code": options["trust_remote_code"],
        "--enable-prompt-tokens-details": True,
        "--disable-uvicorn-access-log": True,
    }
    given = [text for flag, value in flags.items() for text in (flag, str(value))]
    return [*given, *(flag for flag, is_on in switches.items() if is_on), *map(str, options["arguments"])]


def _memory(spec: ModelSpec, options: Mapping[str, Any], context_length: int) -> dict[str, Any]:
    """Return how much memory vLLM may use: a share of each GPU, if one is given, else what the slots need.

    By default it would use nine tenths of each GPU, and leave nothing for another model.
    """
    share = options["gpu_memory_utilization"]
    if share:
        return {"--gpu-memory-utilization": share}
    if spec.cache_bytes is None:
        return {}
    slots = spec.slots or 1
    blocks = slots * math.ceil(context_length / LARGEST_BLOCK) + 2  # one is never used, and one is shared
    per_token = spec.cache_bytes / (slots * context_length)
    cache = math.ceil(blocks * LARGEST_BLOCK * per_token * CACHE_MARGIN / _processes(options))
    return {"--kv-cache-memory-bytes": cache, "--gpu-memory-utilization": LEAST_UTILIZATION}


def _processes(options: Mapping[str, Any]) -> int:
    return int(options["tensor_parallel_size"] * options["pipeline_parallel_size"])


def _is_eager(spec: ModelSpec, options: Mapping[str, Any]) -> bool:
    """On a CPU, compiling the model takes longer than most such hosts run."""
    return not spec.gpus if options["enforce_eager"] == AUTO else options["enforce_eager"] == "true"


def _backend(spec: ModelSpec, options: Mapping[str, Any]) -> str:
    """One process needs no executor between processes; on GPUs vLLM detects that itself."""
    backend: str = options["distributed_executor_backend"]
    return "uni" if backend == AUTO and not spec.gpus and _processes(options) == 1 else backend


def _environment(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, str]:
    env = {
        "HF_HUB_OFFLINE": "1",  # everything is here; a library must not look for newer files
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_COLOR": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if options["ray_address"]:
        env["RAY_ADDRESS"] = options["ray_address"]
    if spec.gpus:
        return {**env, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # as NVML counts them
    threads = str(spec.threads or 1)
    env |= {"OMP_NUM_THREADS": threads, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCHDYNAMO_DISABLE": "1"}
    # Threads that wait for one another yield their cores. By default they spin, and if every core has one, anything
    # else that runs there (the host, its clients) delays each step.
    env["OMP_WAIT_POLICY"] = "PASSIVE"
    if _backend(spec, options) == "uni":
        env["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # which uni needs on a CPU
    return env
