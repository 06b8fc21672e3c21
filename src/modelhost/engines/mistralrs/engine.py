"""mistral.rs: safetensors, optionally quantized while they are loaded, and GGUF.

https://github.com/EricLBuehler/mistral.rs
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines import library_engine, load_config
from modelhost.engines.base import AcceptedParams, Engine
from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.launch_params import accept_params, without_effect
from modelhost.engines.library_engine import CHAT, CHOICES, FALLBACK_CONTEXT, LibraryDialect, field_handlers
from modelhost.engines.load_config import ConfiguredLoad, FieldResult, LoadBaseline, LoadConfig, LoadOverrides
from modelhost.engines.options import check_options, check_settings
from modelhost.engines.prompting import prompt_config
from modelhost.engines.worker.foreign_start import command
from modelhost.errors import ConfigError
from modelhost.exchange.tasks import Task

MODULE: Final = "modelhost.engines.mistralrs.worker"
OPTIONS: Final[Mapping[str, Any]] = {
    "isq": "none",  # format to quantize weights to while they are loaded, such as Q4K or Q8_0
    "dtype": "auto",  # float32, bfloat16, float16; auto: the library's choice for this machine
    "prefix_caches": 16,  # number of cached conversations
}
NONE: Final = "none"
FORMATS: Final = (
    *("2", "3", "4", "5", "6", "8", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2K", "Q3K", "Q4K", "Q5K", "Q6K"),
    *("Q8K", "HQQ8", "HQQ4", "FP8", "AFQ8", "AFQ6", "AFQ4", "AFQ3", "AFQ2", "F8Q8", "MXFP4"),
)
"""Values of ``isq``; a number is the best format with that many bits."""
SAMPLING: Final = frozenset({"repetition_penalty", "ignore_eos", "structured_outputs"})
FIELDS: Final[Mapping[Task, frozenset[str]]] = {
    "chat": SAMPLING | CHAT,
    "completions": SAMPLING,
    "tokenize": frozenset({"with_pieces"}),
}
UNSUPPORTED_SETTINGS: Final = {
    **library_engine.UNSUPPORTED_SETTINGS,
    "gpu_layers": "it decides by itself what goes to the GPU",
}
"""Settings that it does not support here, and the alternatives."""
_KEPT = "it keeps the beginnings of prompts by itself; the engine option prefix_caches says of how many conversations"


class MistralRs(LibraryDialect):
    """mistral.rs."""

    name = "mistralrs"
    request_fields = FIELDS
    parses_special_tokens = True  # its library takes text and no tokens

    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        return accept_params(
            self.name,
            params,
            known_options=OPTIONS,
            own={
                "isq": lambda _, given: ({}, {"isq": given["isq"]}, "", ""),
                "prompt_cache": without_effect("prompt_cache", _KEPT),
            },
            check_options=_problem,
        )

    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        like_others = field_handlers(self.name, OPTIONS, prefixes="prefix_caches")
        return load_config.configure_load({**like_others, "quantization": _quantization}, config, baseline)

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        options = _options(spec.options)
        check_settings(self.name, spec, UNSUPPORTED_SETTINGS)
        prompted = prompt_config(spec)
        config = {
            **options,
            "name": spec.name,
            "path": str(spec.path),
            "api_key": api_key,
            "context_length": spec.context_length or FALLBACK_CONTEXT,
            "slots": spec.slots or 1,
            **prompted,
            "chat_template": prompted["chat_template"] or spec.own_chat_template,
            "vocab_size": spec.vocab_size,
        }
        argv = (sys.executable, "-m", MODULE) if spec.python is None else command(spec.python, MODULE)
        env = {
            "HF_HUB_OFFLINE": "1",  # everything is here; it must not look for newer files
            "RAYON_NUM_THREADS": str(spec.threads or 1),  # its threads spin: with one too many it is 30 times slower
            "RUST_LOG": "error",
            "RUST_BACKTRACE": "0",
            "NO_COLOR": "1",
            **spec.env,
        }
        phrases = ("out of memory", "memory allocation of", "cannot allocate memory")
        return Launch(argv=argv, env=env, config=config, memory_phrases=phrases)


ENGINE: Final[Engine] = MistralRs()


def _quantization(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    """Weights are quantized while they are loaded, unless the files are quantized already."""
    wanted, present = (config.quantization or "").lower(), _options(baseline.spec.options)["isq"]
    if wanted in ("auto", present.lower()) or load_config.is_quantized_so(wanted, baseline.quantization):
        return load_config.NO_CHANGE
    formats = {name.lower(): name for name in (NONE, *FORMATS)}
    if wanted not in formats:
        return f"there is no format {config.quantization}; mistral.rs quantizes to {', '.join(FORMATS)}"
    path = baseline.spec.path
    if wanted != NONE and path is not None and path.suffix.lower() == ".gguf":
        return f"the GGUF file is {baseline.quantization} already; take the model in safetensors, or another file"
    return LoadOverrides(options={"isq": formats[wanted]})


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options, checked (ConfigError: one is unknown, or not valid)."""
    options = check_options(MistralRs.name, given, OPTIONS, choices=CHOICES)
    by_name = {name.lower(): name for name in (NONE, *FORMATS)}
    wanted = options["isq"].lower()
    if wanted not in by_name:
        message = f'engine option "isq": there is no format {options["isq"]}; there is {", ".join((NONE, *FORMATS))}'
        raise ConfigError(message, param="engine_options")
    if options["prefix_caches"] < 0:
        raise ConfigError('engine option "prefix_caches": it has to be 0 or more', param="engine_options")
    return {**options, "isq": by_name[wanted]}


def _problem(given: Mapping[str, Any]) -> str:
    try:
        _options(given)
    except ConfigError as error:
        return error.message
    return ""
