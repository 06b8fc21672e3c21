"""llama.cpp, the default engine: GGUF models on any machine.

The request fields beyond OpenAI's are those of llama.cpp's server
(https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from modelhost.engines.base import INPUT_GRAMMAR, AcceptedParams, Engine
from modelhost.engines.environments import build_of
from modelhost.engines.launch import Launch, ModelSpec, Ready
from modelhost.engines.llamacpp.adapters import ScaledAdapters, cache_ram_mib, scales_at_load
from modelhost.engines.llamacpp.config import tasks_of
from modelhost.engines.llamacpp.dialect import (
    PER_TOKEN,
    ProgressEvents,
    adapt_request,
    completion_events,
    error_from,
    infill_body,
    usage_in,
    with_tools_in_template,
)
from modelhost.engines.llamacpp.ends import check_min_tokens
from modelhost.engines.llamacpp.grammars import (
    check_llguidance,
    may_think_first,
    schema_of,
    with_schema_grammar,
    with_tool_input_grammar,
)
from modelhost.engines.llamacpp.installation import OPTION as SERVER
from modelhost.engines.llamacpp.installation import (
    library_uses_gpus,
    server_uses_gpus,
    with_packaged_server,
    with_server,
)
from modelhost.engines.llamacpp.options import (
    FALLBACK_CONTEXT,
    NAME,
    OPTIONS,
    REFUSED,
    SPINS,
    allowed_cpus,
    batch_size,
    check_on_this_machine,
    checked_options,
    gpu_variables,
    gpus_used,
    makes_embeddings,
    micro_batch_size,
    pinned_cpus,
    split_mode,
)
from modelhost.engines.llamacpp.params import FIELD_HANDLERS, accepted
from modelhost.engines.llamacpp.preparation import LlamaCppPreparation
from modelhost.engines.llamacpp.scores import ForcedTokens
from modelhost.engines.llamacpp.server_flags import KEY_VARIABLE
from modelhost.engines.llamacpp.slots import SlotFiles
from modelhost.engines.load_config import ConfiguredLoad, LoadBaseline, LoadConfig, configure_load
from modelhost.engines.options import check_options
from modelhost.engines.prompting import prompt_config
from modelhost.engines.worker.foreign_start import command
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import TASKS, Task
from modelhost.monitor.engine_reports import EngineMetrics

SAMPLING = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "typical_p", "top_n_sigma", "xtc_probability"),
        *("xtc_threshold", "dynatemp_range", "dynatemp_exponent", "repeat_last_n", "repeat_penalty"),
        *("repetition_penalty", "presence_penalty", "frequency_penalty", "dry_multiplier", "dry_base"),
        *("dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers", "mirostat", "mirostat_tau"),
        *("mirostat_eta", "min_keep", "min_tokens_to_keep", "samplers", "logit_bias", "seed", "grammar"),
        *("json_schema", "structured_outputs", "ignore_eos", "min_tokens", "stop_token_ids", "n_probs"),
        *("post_sampling_probs", "backend_sampling"),
    }
)
RUNNING = frozenset(
    {
        *("cache_prompt", "id_slot", "n_keep", "n_indent", "t_max_predict_ms", "timings_per_token"),
        *("return_tokens", "return_progress", "lora"),
    }
)
CHAT = frozenset(
    {
        *("chat_template_kwargs", "reasoning_effort", "reasoning_format", "thinking_budget_tokens"),
        *("add_generation_prompt", "continue_final_message", "parse_tool_calls"),
    }
)
NOT_FOR_INFILL = frozenset({"n_probs", "post_sampling_probs", "return_progress", "return_tokens", "timings_per_token"})
"""Fields whose results have no place in the answer to an infill request."""
FIELDS: Mapping[Task, frozenset[str]] = {
    "chat": SAMPLING | RUNNING | CHAT,
    "completions": SAMPLING | RUNNING,
    "infill": (SAMPLING | RUNNING | {"t_max_prompt_ms"}) - NOT_FOR_INFILL,
    "embeddings": frozenset({"embd_normalize"}),
    "tokenize": frozenset({"with_pieces"}),
}
CONSTRAINTS = frozenset({"grammar", "json_schema"})
MEMORY_PHRASES = (
    "insufficient memory",  # ggml_aligned_malloc
    "failed to allocate",  # any buffer of the model, the cache or the computation, on whatever device
    "unable to allocate",  # the model's, when the device refuses it
    "out of memory",  # CUDA, HIP and SYCL
    "error loading model: resource temporarily unavailable",  # no thread, usually for lack of memory for its stack
    "outofmemory",  # Metal
    "erroroutof",  # Vulkan: of device memory, or of the host's
    "bad_alloc",
)
GPU_MEMORY_PHRASES = (
    "cudamalloc failed",  # CUDA, and HIP and MUSA, which say the same
    *(f"{name} error: out of memory" for name in ("cuda", "rocm", "musa")),
    *(f"allocate {name}" for name in ("cuda", "rocm", "musa", "vulkan", "sycl")),  # a buffer, which is called so
    "bytes of memory on device",  # SYCL
    "device memory allocation of size",  # Vulkan
    "erroroutofdevicememory",  # Vulkan
)
MODULE = "modelhost.engines.llamacpp.worker"
SERVER_MODULE = "modelhost.engines.llamacpp.server_worker"
ID_OF_CHAT, ID_OF_COMPLETION = b'"id":"chatcmpl-', b'"id":"cmpl-'
CONVERTED: Final[frozenset[Task]] = frozenset({"completions", "infill"})
"""The tasks whose answers are not in the host's form."""


METRICS: Final = EngineMetrics(
    prefix="llamacpp:",
    slots_path="/slots",
    kv_usage=("llamacpp:kv_cache_usage_ratio",),
    steps="llamacpp:n_decode_total",
    requests_per_step="llamacpp:n_busy_slots_per_decode",
)
"""Drafted tokens are left out: its answers have them."""


class LlamaCpp(Engine):
    """llama.cpp."""

    name = NAME
    request_fields = FIELDS
    metrics = METRICS
    prompt_caches = SlotFiles()
    custom_tools = "with_grammars"
    continues_final_message = True
    prompt_progress = ProgressEvents()
    counts_media = True
    preparation = LlamaCppPreparation()
    adapters = ScaledAdapters()
    prompt_scores = ForcedTokens()

    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        return accepted(params)

    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        return configure_load(FIELD_HANDLERS, config, baseline)

    def complete_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return with_server(options)

    def with_packaged_program(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return with_packaged_server(options)

    def program(self, options: Mapping[str, Any]) -> str | None:
        return options.get(SERVER) or None

    def finds_gpus(self, python: str, options: Mapping[str, Any], env: Mapping[str, str]) -> bool:
        server = self.program(options)
        return library_uses_gpus(python) if server is None else server_uses_gpus(server, env)

    def used_gpus(self, options: Mapping[str, Any], gpus: tuple[int, ...]) -> tuple[int, ...]:
        return gpus_used(check_options(self.name, options, OPTIONS, refused=REFUSED), gpus)

    def tasks(self, spec: ModelSpec) -> tuple[Task, ...]:
        announced = tasks_of(self._kind(spec))
        return tuple(task for task in TASKS if task in announced)

    def _kind(self, spec: ModelSpec) -> dict[str, Any]:
        """Return the values of the worker's configuration that its tasks depend on."""
        return {
            "pooling": checked_options(spec)["pooling"] or spec.pooling or "mean",
            "embedding_only": spec.embedding_only,
            "embeddings": makes_embeddings(spec),
        }

    def step_tokens(self, spec: ModelSpec) -> int:
        check_on_this_machine(checked_options(spec), allowed_cpus())
        return micro_batch_size(spec)

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        options, cpus = checked_options(spec), allowed_cpus()
        check_on_this_machine(options, cpus)
        context = spec.context_length or FALLBACK_CONTEXT
        config = {
            "name": spec.name,
            "path": str(spec.path),
            "api_key": api_key,
            "context_length": context,
            "slots": spec.slots or 1,
            "threads": spec.threads or 1,
            "pinned_cpus": pinned_cpus(spec, cpus),
            "gpu_layers": spec.gpu_layers,
            "kv_cache_type": spec.kv_cache_type,
            "lora": scales_at_load(spec),
            "draft_path": str(spec.draft_path) if spec.draft_path else None,
            "mmproj_path": str(spec.mmproj_path) if spec.mmproj_path else None,
            **prompt_config(spec),
            "max_in_flight": spec.max_in_flight,
            **options,
            "cache_ram_mib": cache_ram_mib(spec, options),
            **self._kind(spec),
            "thinks": may_think_first(spec),
            "batch_size": batch_size(spec),
            "micro_batch_size": micro_batch_size(spec),
            "split_mode": split_mode(options),
            "tensor_split": [layers for layers in spec.gpu_split if layers],
            "options_given": sorted(name for name in spec.options if options[name] != OPTIONS[name]),
            "given_variables": sorted(spec.env),
            "build": build_of(spec.python) if spec.python and spec.has_fallback else None,
        }
        module = SERVER_MODULE if options["server"] else MODULE
        argv = (sys.executable, "-m", module) if spec.python is None else command(spec.python, module)
        env = {
            # Without this, a failed assertion of ggml starts a debugger to print a backtrace and hangs for seconds.
            "GGML_NO_BACKTRACE": "1",
            "GOMP_SPINCOUNT": SPINS,
            "LLAMA_SERVER_SLOTS_DEBUG": "1",  # /slots reports the text of each slot; see slots.py
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts them
            **({"GGML_CUDA_DISABLE_GRAPHS": "1"} if options["enforce_eager"] else {}),
            **({KEY_VARIABLE: api_key} if options["server"] else {}),
            **spec.env,
            **gpu_variables(spec, options),
        }
        return Launch(
            argv=argv,
            env=env,
            config=config,
            memory_phrases=(*MEMORY_PHRASES, *GPU_MEMORY_PHRASES),
            gpu_memory_phrases=GPU_MEMORY_PHRASES,
        )

    def advice(self, task: Task) -> str:
        if task == "embeddings":
            return "Serve an embedding model, or have this one make them: --engine-option embeddings=true."
        return ""

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        body = adapt_request(task, body)
        if INPUT_GRAMMAR in body:
            return {**with_tools_in_template(body), INPUT_GRAMMAR: body[INPUT_GRAMMAR]}
        if body.get("tool_choice") == "required" and CONSTRAINTS.isdisjoint(body):
            return with_tools_in_template(body, schema_of(body["tools"]))
        return body

    def finalize(self, task: Task, body: dict[str, Any], ready: Ready) -> dict[str, Any]:
        if INPUT_GRAMMAR in body:
            return with_tool_input_grammar(body, ready.features)
        check_llguidance(body, ready.features)
        check_min_tokens(body, ready)
        if task == "infill":
            return infill_body(body)
        return with_schema_grammar(body) if task in ready.guided else body

    def convert_answer(self, task: Task, data: bytes) -> bytes:
        if task == "infill":
            return completion_events(data)
        # With its quotes it cannot occur in a text, where JSON escapes them.
        return data.replace(ID_OF_CHAT, ID_OF_COMPLETION) if task == "completions" else data

    def event_converter(self, task: Task) -> Callable[[bytes], bytes] | None:
        return super().event_converter(task) if task in CONVERTED else None

    def usage_in(
        self, chunk: Mapping[str, Any], *, requested: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        return usage_in(chunk, keeps_timings=bool(requested.get(PER_TOKEN)))

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        return error_from(status, payload, model=model, worker=worker)


ENGINE: Final[Engine] = LlamaCpp()
