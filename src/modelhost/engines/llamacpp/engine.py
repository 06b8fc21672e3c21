"""llama.cpp, the default engine: GGUF models on any machine.

The request fields beyond OpenAI's are those of llama.cpp's server
(https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import INPUT_GRAMMAR, AcceptedParams, Engine
from modelhost.engines.launch import Launch, ModelSpec, Ready
from modelhost.engines.llamacpp.adapters import ScaledAdapters, cache_ram_mib, check_adapters, scales_at_load
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
from modelhost.engines.llamacpp.installation import library_uses_gpus, server_uses_gpus, with_server
from modelhost.engines.llamacpp.options import (
    FALLBACK_CONTEXT,
    LOAD_OPTIONS,
    SPEED_OPTIONS,
    SPINS,
    batch_size_of,
    check_speed,
    gpus_used,
    llamacpp_load,
    micro_batch_size_of,
    split_mode,
)
from modelhost.engines.llamacpp.params import accepted
from modelhost.engines.llamacpp.preparation import LlamaCppPreparation
from modelhost.engines.llamacpp.scores import ForcedTokens
from modelhost.engines.llamacpp.server_flags import KEY_VARIABLE
from modelhost.engines.llamacpp.slots import SlotFiles
from modelhost.engines.load_config import ConfiguredLoad, LoadBaseline, LoadConfig
from modelhost.engines.options import check_options, problem_of_options
from modelhost.engines.prompting import prompt_config
from modelhost.engines.worker.foreign_start import command
from modelhost.errors import ConfigError, ModelhostError
from modelhost.exchange.tasks import Task

SAMPLING = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "typical_p",
        "top_n_sigma",
        "xtc_probability",
        "xtc_threshold",
        "dynatemp_range",
        "dynatemp_exponent",
        "repeat_last_n",
        "repeat_penalty",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "dry_multiplier",
        "dry_base",
        "dry_allowed_length",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
        "min_keep",
        "min_tokens_to_keep",
        "samplers",
        "logit_bias",
        "seed",
        "grammar",
        "json_schema",
        "structured_outputs",
        "ignore_eos",
        "min_tokens",
        "stop_token_ids",
        "n_probs",
        "post_sampling_probs",
        "backend_sampling",
    }
)
RUNNING = frozenset(
    {
        "cache_prompt",
        "id_slot",
        "n_keep",
        "n_indent",
        "t_max_predict_ms",
        "timings_per_token",
        "return_tokens",
        "return_progress",
        "lora",
    }
)
CHAT = frozenset(
    {
        "chat_template_kwargs",
        "reasoning_effort",
        "reasoning_format",
        "add_generation_prompt",
        "continue_final_message",
        "parse_tool_calls",
    }
)
NOT_FOR_INFILL = frozenset({"n_probs", "post_sampling_probs", "return_progress", "return_tokens", "timings_per_token"})
"""Fields whose results have no place in the answer to an infill request."""
FIELDS: Mapping[Task, frozenset[str]] = {
    "chat": SAMPLING | RUNNING | CHAT,
    "completions": SAMPLING | RUNNING,
    "infill": (SAMPLING | RUNNING | {"t_max_prompt_ms"}) - NOT_FOR_INFILL,
    "embeddings": frozenset({"embd_normalize"}),
    "rerank": frozenset(),
    "tokenize": frozenset({"with_pieces"}),
    "detokenize": frozenset(),
}
CONSTRAINTS = frozenset({"grammar", "json_schema"})
OPTIONS: Mapping[str, Any] = {
    "cache_ram_mib": 512,  # for the caches of finished conversations, which may be continued
    "n_cache_reuse": 0,  # least tokens of a part of a prompt to be reused in another place; 0: none is
    "embeddings": "auto",  # true, false, or auto: by embedding models, and by those of a small vocabulary
    "check_tensors": True,  # whether weights are looked at when they are loaded; some that are no numbers end that
    "mmap": True,  # whether the file is mapped into memory, or read
    "pooling": None,  # how token vectors become one: mean, cls, last, rank ...; null: as the file says, else mean
    "slot_save_path": None,  # folder of prompt caches; null: where the host keeps them
    "server": None,  # a llama-server to run the model in: its path, or its name on the PATH; null: modelhost's own
    **SPEED_OPTIONS,
    **LOAD_OPTIONS,
}
REFUSED: Mapping[str, str] = {
    "isq": "llama.cpp does not quantize while it loads; take a file that is quantized already, such as "
    "org/name:Q4_K_M, or a model in safetensors",
}
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
SMALL_VOCABULARY = 16_384
ID_OF_CHAT, ID_OF_COMPLETION = b'"id":"chatcmpl-', b'"id":"cmpl-'
EMBEDDINGS: Mapping[str, bool | None] = {"true": True, "false": False, "auto": None}


class LlamaCpp(Engine):
    """llama.cpp."""

    name = "llamacpp"
    prompt_caches = SlotFiles()
    custom_tools = "with_grammars"
    prompt_progress = ProgressEvents()
    preparation = LlamaCppPreparation()
    adapters = ScaledAdapters()
    prompt_scores = ForcedTokens()

    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        return accepted(
            params, check_options=lambda options: problem_of_options(self.name, options, OPTIONS, refused=REFUSED)
        )

    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        return llamacpp_load(config, baseline, OPTIONS)

    def complete_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return with_server(options)

    def program(self, options: Mapping[str, Any]) -> str | None:
        return options.get(SERVER) or None

    def finds_gpus(self, python: str, options: Mapping[str, Any], env: Mapping[str, str]) -> bool:
        server = self.program(options)
        return library_uses_gpus(python) if server is None else server_uses_gpus(server, env)

    def used_gpus(self, options: Mapping[str, Any], gpus: tuple[int, ...]) -> tuple[int, ...]:
        return gpus_used(check_options(self.name, options, OPTIONS, refused=REFUSED), gpus)

    def step_tokens(self, spec: ModelSpec) -> int:
        return micro_batch_size(spec)

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        options = _options(spec)
        context = spec.context_length or FALLBACK_CONTEXT
        config = {
            "name": spec.name,
            "path": str(spec.path),
            "api_key": api_key,
            "context_length": context,
            "slots": spec.slots or 1,
            "threads": spec.threads or 1,
            "gpu_layers": spec.gpu_layers,
            "kv_cache_type": spec.kv_cache_type,
            "lora": scales_at_load(spec),
            "draft_path": str(spec.draft_path) if spec.draft_path else None,
            "mmproj_path": str(spec.mmproj_path) if spec.mmproj_path else None,
            **prompt_config(spec),
            "max_in_flight": spec.max_in_flight,
            **options,
            "cache_ram_mib": cache_ram_mib(spec, options),
            "pooling": options["pooling"] or spec.pooling or "mean",
            "embedding_only": spec.embedding_only,
            "embeddings": makes_embeddings(spec),
            "thinks": may_think_first(spec),
            "batch_size": batch_size(spec),
            "micro_batch_size": micro_batch_size(spec),
            "split_mode": split_mode(options),
            "tensor_split": [layers for layers in spec.gpu_split if layers],
            "options_given": sorted(name for name in spec.options if options[name] != OPTIONS[name]),
            "given_variables": sorted(spec.env),
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
            **_visible(spec, options),
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

    def fields(self, task: Task) -> frozenset[str]:
        return FIELDS[task]

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

    def usage_in(
        self, chunk: Mapping[str, Any], *, asked: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        return usage_in(chunk, keeps_timings=bool(asked.get(PER_TOKEN)))

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        return error_from(status, payload, model=model, worker=worker)


def _options(spec: ModelSpec) -> dict[str, Any]:
    """Return all options, checked; raises ConfigError."""
    options = check_options(LlamaCpp.name, spec.options, OPTIONS, refused=REFUSED)
    check_speed(options)
    check_adapters(spec, options, known=OPTIONS)
    return options


def _visible(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that hide all GPUs but those that the model uses, if those are determined.

    A GPU without layers would still be used for large prompts, and its memory with it.

    Raises:
        ConfigError: options require more GPUs than there are.
    """
    used = gpus_used(options, spec.gpus)
    if spec.gpu_layers == 0:
        used = ()
    elif spec.gpu_split:
        used = tuple(gpu for gpu, layers in zip(spec.gpus, spec.gpu_split, strict=True) if layers)
    is_said = options["tensor_parallel_size"] > 1 or options["pipeline_parallel_size"] > 1
    is_decided = is_said or spec.gpu_layers == 0 or len(spec.gpu_split) > 1
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, used))} if is_decided else {}


def batch_size(spec: ModelSpec) -> int:
    """Return how many tokens of a prompt are processed at once.

    Raises:
        ConfigError: an engine option is not valid.
    """
    return batch_size_of(spec, _options(spec))


def makes_embeddings(spec: ModelSpec) -> bool:
    """Return whether the worker makes embeddings.

    For these, llama.cpp evaluates a text in one batch and reserves the scores of the whole vocabulary for each token:
    over a gigabyte with 150,000 entries, which a chat model does not need.

    Raises:
        ConfigError: an engine option is not valid.
    """
    wanted = str(_options(spec)["embeddings"]).lower()
    if wanted not in EMBEDDINGS:
        raise ConfigError(
            f'engine option "embeddings" takes true, false or auto, not "{wanted}"', param="engine_options"
        )
    if spec.embedding_only or spec.pooling == "rank":
        return True
    decided = EMBEDDINGS[wanted]
    return (spec.vocab_size or 0) <= SMALL_VOCABULARY if decided is None else decided


def micro_batch_size(spec: ModelSpec) -> int:
    """Return how many tokens are evaluated in one step.

    Raises:
        ConfigError: an engine option is not valid.
    """
    return micro_batch_size_of(spec, _options(spec), embeds=makes_embeddings(spec))


ENGINE: Final[Engine] = LlamaCpp()
