"""An engine that is a Python library in a Python worker: start, fields and errors, on the host's side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from modelhost import errors
from modelhost.engines import load_config
from modelhost.engines.base import AcceptedParams, Engine
from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.launch_params import accept_params
from modelhost.engines.load_config import ConfiguredLoad, FieldHandler, LoadBaseline, LoadConfig
from modelhost.engines.options import check_options, check_settings, problem_of_options
from modelhost.engines.prompting import prompt_config
from modelhost.engines.token_limits import MIN_TOKENS, STOP_TOKEN_IDS, check_token_limits
from modelhost.engines.tool_calls.forms import AUTO, FORMS
from modelhost.engines.worker.asgi import UNSUPPORTED
from modelhost.errors import ConfigError, ModelhostError
from modelhost.exchange.tasks import TOKEN_STRINGS, WRITING, Task
from modelhost.monitor.engine_reports import EngineMetrics

SAMPLING = frozenset(
    {"min_tokens_to_keep", "repetition_penalty", "ignore_eos", "structured_outputs", MIN_TOKENS, STOP_TOKEN_IDS}
)
CHAT = frozenset({"chat_template_kwargs", "reasoning_effort", "add_generation_prompt", "continue_final_message"})
FIELDS: Mapping[Task, frozenset[str]] = {
    "chat": SAMPLING | CHAT,
    "completions": SAMPLING | {"echo"},
    "tokenize": frozenset({"with_pieces"}),
}
TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "add_generation_prompt": ((bool,), "true or false"),
    "chat_template_kwargs": ((dict,), "an object"),
    "continue_final_message": ((bool,), "true or false"),
    "ignore_eos": ((bool,), "true or false"),
    "min_tokens_to_keep": ((int,), "a whole number from 1"),
    "reasoning_effort": ((str,), "text"),
    "repetition_penalty": ((int, float), "a number over 0"),
    "with_pieces": ((bool,), "true or false"),
}
POSITIVE = ("min_tokens_to_keep", "repetition_penalty")


class LibraryDialect(Engine):
    """What all engines with such workers have in common."""

    parses_special_tokens = False

    def tasks(self, spec: ModelSpec) -> tuple[Task, ...]:
        return super().tasks(spec) or WRITING

    def advice(self, task: Task) -> str:
        return f"{self.name} writes text; llama.cpp makes embeddings." if task in {"embeddings", "rerank"} else ""

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        return adapt_request(task, body)

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        return error_from(status, payload, model=model, worker=worker)


def adapt_request(task: Task, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` for the worker; ``body`` is changed in place, the objects in it are not.

    Raises:
        InvalidRequest: a field beyond OpenAI's is of a wrong type.
    """
    for name, (kinds, words) in TYPES.items():
        value = body.get(name)
        if value is None:
            continue
        is_of_kind = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not is_of_kind or (name in POSITIVE and value <= 0):
            raise errors.InvalidRequest(f"{name}: it has to be {words}.", param=name)
    if task == "tokenize" and body.pop(TOKEN_STRINGS, None):
        body["with_pieces"] = True
    if MIN_TOKENS in body or STOP_TOKEN_IDS in body:
        check_token_limits(body)
    effort = body.pop("reasoning_effort", None) if task == "chat" else None
    if effort is not None:
        # It goes to the chat template, which is where the models that know it look for it.
        thinks = {"enable_thinking": False} if effort == "none" else {"reasoning_effort": effort}
        body["chat_template_kwargs"] = {**thinks, **body.get("chat_template_kwargs", {})}
    return body


def error_from(status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
    """Return the worker's error answer as a :class:`ModelhostError`."""
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        error = {"message": f"the engine answered {status} without saying why", "type": "unknown"}
    message, kind = str(error.get("message", "")), error.get("type")
    if kind == "exceed_context_size_error":
        return errors.ContextLengthExceeded.of(model, tokens=error.get("n_prompt_tokens"), limit=error.get("n_ctx"))
    if kind == "not_supported_error":
        return errors.UnsupportedOperation(message, model=model, param=error.get("param"))
    if kind == UNSUPPORTED:
        return errors.UnsupportedParameter(message, param=error.get("param"))
    if kind == "invalid_request_error":
        place = {"image": error["image"]} if "image" in error else {}
        return errors.InvalidRequest(message, param=error.get("param"), **place)
    return errors.EngineError(
        f"The engine of {model} failed: {message}", model=model, worker=worker, status=status, engine_type=str(kind)
    )


OPTIONS: Mapping[str, Any] = {
    "cache_ram_mib": 512,  # MiB for the caches of finished conversations, which may be continued
    "tool_call_parser": "auto",  # the format of the model's tool calls, by vLLM's names; auto: from its chat template
    "batch_size": 512,  # tokens of new prompts processed between two steps of running answers
}
"""Options of every such engine."""
CHOICES = {"dtype": ("auto", "float32", "bfloat16", "float16")}
"""The values of an option that engines have which compute with torch or MLX."""
FALLBACK_CONTEXT = 4096
UNSUPPORTED_SETTINGS: Mapping[str, str] = {
    "lora": "serve a model that the adapter is merged into",
    "draft_path": "llama.cpp can, with GGUF files",
    "mmproj_path": "the vision encoder is among the model's own files",
    "gpu_layers": "the whole model is on one device",
}
"""Settings that these engines do not support, and the alternatives."""


METRICS: Final = EngineMetrics(
    prefix="worker:",
    kv_usage=("worker:kv_cache_usage",),
    steps="worker:steps_total",
    step_requests="worker:step_requests_total",
    gpu_cached_bytes="worker:gpu_cached_bytes",
    gpu_largest_free_bytes="worker:gpu_largest_free_bytes",
)


class LibraryEngine(LibraryDialect):
    """An engine that is a library, described by its parameters.

    Args:
        options: the engine's own options with their defaults, in addition to ``OPTIONS``.
        environment: environment variables of its worker.
        memory_phrases: as those of :class:`~modelhost.engines.launch.Launch`.
    """

    request_fields = FIELDS

    def __init__(
        self,
        name: str,
        *,
        module: str,
        options: Mapping[str, Any],
        environment: Mapping[str, str],
        memory_phrases: tuple[str, ...],
    ) -> None:
        self.name = name
        self._module = module
        self._options = {**OPTIONS, **options}
        self._environment = environment
        self._memory_phrases = memory_phrases

    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        def problem_of(options: Mapping[str, Any]) -> str:
            return problem_of_options(self.name, options, self._options, choices=CHOICES)

        return accept_params(self.name, params, known_options=self._options, check_options=problem_of)

    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        return load_config.configure_load(
            field_handlers(self.name, self._options, prefixes="cache_ram_mib"), config, baseline
        )

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        options = check_options(self.name, spec.options, self._options, choices=CHOICES)
        check_settings(self.name, spec, UNSUPPORTED_SETTINGS)
        if options["tool_call_parser"] not in (AUTO, *FORMS):
            raise ConfigError(
                f'engine option "tool_call_parser": "{options["tool_call_parser"]}" is not one of auto, '
                f"{', '.join(FORMS)}",
                param="engine_options",
            )
        for name in ("batch_size", "cache_ram_mib"):
            if options[name] < (1 if name == "batch_size" else 0):
                raise ConfigError(f'engine option "{name}": {options[name]} is too small', param="engine_options")
        config = {
            **options,
            "name": spec.name,
            "path": str(spec.path),
            "api_key": api_key,
            "context_length": spec.context_length or FALLBACK_CONTEXT,
            "slots": spec.slots or 1,
            "threads": spec.threads or 1,
            **prompt_config(spec),
            "own_chat_template": spec.own_chat_template,
            "special_tokens": spec.special_tokens,
        }
        argv = (spec.python or sys.executable, "-m", self._module)
        threads = str(spec.threads or 1)
        env = {
            "HF_HUB_OFFLINE": "1",  # everything is here; a library must not look for newer files
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": threads,
            **self._environment,
            **spec.env,
        }
        return Launch(argv=argv, env=env, config=config, memory_phrases=self._memory_phrases)


def field_handlers(engine: str, known: Mapping[str, Any], *, prefixes: str) -> Mapping[str, FieldHandler]:
    """Return the handlers of ``engine`` with the options ``known``, of which ``prefixes`` is the size of its cache."""
    one_device = "it works on one device; vllm spreads a model in safetensors over several GPUs, llama.cpp one in GGUF"
    return {
        "max_model_len": load_config.context_length_field,
        "dtype": load_config.dtype_field(engine, known),
        "quantization": load_config.quantization_field,
        "tensor_parallel_size": load_config.fixed_field("tensor_parallel_size", 1, one_device),
        "pipeline_parallel_size": load_config.fixed_field("pipeline_parallel_size", 1, one_device),
        "gpu_memory_utilization": load_config.gpu_share_field,
        "enforce_eager": load_config.no_change,  # none of them uses CUDA graphs
        "enable_prefix_caching": load_config.prefix_cache_field(engine, known, prefixes),
    }
