"""The ``VLLM_*`` variables of vLLM's MCP server, for ``modelhost mcp``.

``VLLM_MAX_SESSIONS`` and ``VLLM_MAX_SESSION_MESSAGES`` are not here: they are second names of settings
(:mod:`modelhost.config.environment`). ``HUGGING_FACE_HUB_TOKEN`` is read by the library that downloads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelhost.config.checks import config_error, suggestion
from modelhost.config.fields import SETTINGS
from modelhost.config.request_defaults import HIGHEST_TEMPERATURE

DTYPES: Final = ("auto", "half", "float16", "bfloat16", "float", "float32")
OF_SESSIONS: Final = ("VLLM_MAX_SESSIONS", "VLLM_MAX_SESSION_MESSAGES")
LEVELS: Final = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}
ParseText = Callable[[str], Any]
"""Parses text; raises ValueError whose message ends a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmEnvironment:
    """The values of the variables; ``None`` where one is not set."""

    is_set: bool = False
    """Whether any of them is set, including those of sessions."""
    model: str | None = None
    calls: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of ``chat_completion``, and what ``model_info`` shows of the server, by their names there."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings for an own host, where neither the environment nor a flag sets them."""
    launch: Mapping[str, Any] = field(default_factory=dict)
    """Launch parameters for the model's engine, as in a registry's ``params``."""


def _number(kind: Callable[[str], float], least: float, most: float, *, is_above: bool = False) -> ParseText:
    """Return a parser of numbers from ``least`` (exclusive if ``is_above``) to ``most``."""
    word = "an integer" if kind is int else "a number"
    begin = f"above {least:g}" if is_above else f"of {least:g} or more"
    end = "" if math.isinf(most) else f" and at most {most:g}"

    def read(text: str) -> Any:
        expected = f'expected {word} {begin}{end}, got "{text}"'
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(expected) from None
        if not (least < value if is_above else least <= value) or not value <= most or not math.isfinite(value):
            raise ValueError(expected)
        return value

    return read


def _one_of(choices: Mapping[str, str]) -> ParseText:
    def read(text: str) -> Any:
        known = {name.lower(): value for name, value in choices.items()}
        if text.lower() not in known:
            hint = suggestion(text, choices)
            raise ValueError(f'expected one of {", ".join(choices)}, got "{text}"{hint}')
        return known[text.lower()]

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    read: ParseText
    meaning: str


VARIABLES: Final[Mapping[str, Variable]] = {
    "VLLM_MODEL_NAME": Variable(
        read=str, meaning="The model: a hub id, a file, or a name in `models.yaml`. Default: the bundled model."
    ),
    "VLLM_TENSOR_PARALLEL_SIZE": Variable(
        read=_number(int, 1, math.inf),
        meaning="GPUs that share each layer, with vLLM. llama.cpp distributes a model over all GPUs automatically.",
    ),
    "VLLM_GPU_MEMORY_UTILIZATION": Variable(
        read=_number(float, 0, 1, is_above=True),
        meaning="The share of each GPU's memory that models may use, like `gpu_memory_budget`. Default: 0.9.",
    ),
    "VLLM_MAX_MODEL_LEN": Variable(
        read=_number(int, 16, math.inf),
        meaning="Maximum tokens per conversation, like `context_length`. Default: the model's own, as memory permits.",
    ),
    "VLLM_DTYPE": Variable(
        read=_one_of({name: name for name in DTYPES}),
        meaning="The number format, with engines that load safetensors; a GGUF file has its own. "
        "Default: `float16` on GPUs and Apple silicon if the model supports it, else `auto`, the best format for "
        "engine and files.",
    ),
    "VLLM_DEFAULT_TEMPERATURE": Variable(
        read=_number(float, 0, HIGHEST_TEMPERATURE),
        meaning="`temperature` of calls without one. Default: the model's, else 0.7.",
    ),
    "VLLM_DEFAULT_MAX_TOKENS": Variable(
        read=_number(int, 1, math.inf),
        meaning="`max_tokens` of calls without it. Default: the model's, else 512.",
    ),
    "VLLM_DEFAULT_TOP_P": Variable(
        read=_number(float, 0, 1), meaning="`top_p` of calls without it. Default: the model's, else 1.0."
    ),
    "VLLM_DEFAULT_TOP_K": Variable(
        read=_number(int, -1, math.inf),
        meaning="`top_k` of calls without it; -1 is off. Default: the model's, else -1.",
    ),
    "VLLM_LOG_LEVEL": Variable(
        read=_one_of(LEVELS),
        meaning="Lowest level that is logged on standard error, like `log_level`. Default: `INFO` if one "
        "of these variables is set or the client is FluidMCP, else `WARNING`.",
    ),
}


PREFERS_FLOAT16: Final = "prefers_float16"
"""A further launch parameter: float16 where nothing else is set, and engine and machine support it.

The default of ``VLLM_DTYPE``.
"""
CALLS: Final = {
    **{f"VLLM_DEFAULT_{name.upper()}": name for name in ("temperature", "max_tokens", "top_p", "top_k")},
    **{f"VLLM_{name.upper()}": name for name in ("gpu_memory_utilization", "max_model_len")},
}
LAUNCH: Final = {"VLLM_TENSOR_PARALLEL_SIZE": "tensor_parallel_size", "VLLM_DTYPE": "dtype"}


def read_vllm_variables(environ: Mapping[str, str]) -> VllmEnvironment:
    """Read the variables in ``environ``; empty ones count as not set.

    Raises:
        ConfigError: with all problems, each naming its variable.
    """
    found: dict[str, Any] = {}
    problems = []
    for name, variable in VARIABLES.items():
        if text := environ.get(name, "").strip():
            try:
                found[name] = variable.read(text)
            except ValueError as error:
                problems.append(f"{name}: {error}")
    if problems:
        raise config_error(problems, what="the environment")
    share = found.get("VLLM_GPU_MEMORY_UTILIZATION")
    settings = {
        "model": found.get("VLLM_MODEL_NAME"),
        "context_length": found.get("VLLM_MAX_MODEL_LEN"),
        "gpu_memory_budget": None if share is None else f"{share * 100:.8f}".rstrip("0").rstrip(".") + "%",
        "log_level": found.get("VLLM_LOG_LEVEL"),
    }
    return VllmEnvironment(
        is_set=any(environ.get(name, "").strip() for name in (*VARIABLES, *OF_SESSIONS)),
        model=found.get("VLLM_MODEL_NAME"),
        calls={key: found[name] for name, key in CALLS.items() if name in found},
        settings={
            key: value
            for key, value in settings.items()
            if value is not None and not environ.get(SETTINGS[key].environment, "").strip()
        },
        launch={key: found[name] for name, key in LAUNCH.items() if name in found},
    )
