"""What requests of Ollama's API say besides messages: ``options``, ``keep_alive`` and ``parameters`` of a new model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelhost.engines.base import Engine
from modelhost.errors import InvalidRequest
from modelhost.exchange.requests import Sampling
from modelhost.exchange.tasks import Task
from modelhost.http.ollama import bodies
from modelhost.http.ollama.bodies import Options
from modelhost.http.ollama.model_bodies import CreateRequest
from modelhost.http.validation import note_ignored
from modelhost.models.residency.hosted import HostedModel

UNITS: Final = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Seconds in each unit; the micro sign has two code points. Source: https://pkg.go.dev/time#ParseDuration"""
_PART: Final = r"(\d+\.?\d*|\.\d+)(" + "|".join(UNITS) + ")"
PART: Final = re.compile(_PART)
DURATION: Final = re.compile(rf"[+-]?(?:{_PART})+")
NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
LONGEST_CHARS: Final = 64
FOREVER: Final = math.inf
PREFIX: Final = "options."
"""Of notes."""
ENGINE_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "typical_p": ("typical_p",),
    "repeat_penalty": ("repeat_penalty", "repetition_penalty"),
    "repeat_last_n": ("repeat_last_n",),
    "mirostat": ("mirostat",),
    "mirostat_tau": ("mirostat_tau",),
    "mirostat_eta": ("mirostat_eta",),
    "num_keep": ("n_keep",),
}
"""What engines call an option, those that have it; the first name counts."""
WHOLE: Final = frozenset({"repeat_last_n", "mirostat", "num_keep"})
SAMPLED: Final = frozenset(
    {
        *("temperature", "top_k", "top_p", "min_p", "seed", "stop", "num_predict"),
        *("presence_penalty", "frequency_penalty"),
    }
)
CONTEXT: Final = "num_ctx"


def seconds_of(given: str | float | None) -> float | None:
    """Return the idle seconds that ``keep_alive`` says, after which a model is unloaded: infinite for a negative one.

    ``None``: nothing is said, and the model's own setting remains in force.

    Raises:
        InvalidRequest: ``given`` is a text, but no duration.
    """
    if given is None:
        return None
    seconds = _parsed(given.strip()) if isinstance(given, str) else float(given)
    return FOREVER if seconds < 0 else seconds


def _parsed(text: str) -> float:
    if len(text) <= LONGEST_CHARS:
        if DURATION.fullmatch(text):
            total = sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))
            return -total if text.startswith("-") else total
        if NUMBER.fullmatch(text):
            return float(text)
    raise InvalidRequest(
        'keep_alive: it has to be a number of seconds, or a duration such as "5m" or "1h30m"; a negative one is '
        "without end.",
        param="keep_alive",
    )


def sampling_of(options: bodies.Options | None) -> Sampling:
    """Return the sampling; a limit below 1 and a negative seed are those of the model."""
    if options is None:
        return Sampling()
    stops = [options.stop] if isinstance(options.stop, str) else options.stop or ()
    return Sampling(
        max_tokens=limit if (limit := int(options.num_predict or 0)) > 0 else None,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=None if options.top_k is None else int(options.top_k),
        min_p=options.min_p,
        seed=None if options.seed is None or options.seed < 0 else int(options.seed),
        stop=tuple(filter(None, stops)) or None,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
    )


def engine_options(options: bodies.Options | None, engine: Engine, task: Task) -> dict[str, Any]:
    """Return the options that are fields of ``engine``, under its names; those that it lacks are noted."""
    of_engine, found = engine.fields(task), dict[str, Any]()
    for name, value in _given(options).items():
        if name not in ENGINE_NAMES:
            continue
        known = next((each for each in ENGINE_NAMES[name] if each in of_engine), None)
        if known is None or (name == "repeat_last_n" and value < 0):  # the whole context, which engines do not have
            note_ignored(PREFIX + name)
        else:
            found[known] = int(value) if name in WHOLE else value
    return found


def note_unused(options: bodies.Options | None, model: HostedModel, *, is_generated: bool = True) -> None:
    """Note the options without effect; without ``is_generated``, those of sampling have none either.

    A larger context than the model's is one of them: no request has a model loaded again.
    """
    used = SAMPLED | ENGINE_NAMES.keys() if is_generated else frozenset()
    for name, value in _given(options).items():
        is_held = name == CONTEXT and model.context_length is not None and value <= model.context_length
        if name not in used and not is_held:
            note_ignored(PREFIX + name)


def _given(options: bodies.Options | None) -> dict[str, Any]:
    """Return the options that have a value, unknown ones too."""
    if options is None:
        return {}
    return {name: value for name, value in options.model_dump().items() if value is not None}


PARAMETERS_PREFIX: Final = "parameters."
SETTINGS: Final[Mapping[str, str]] = {"num_ctx": "context_length", "num_gpu": "gpu_layers", "num_thread": "threads"}
LOWEST: Final[Mapping[str, int]] = {"num_ctx": 1, "num_gpu": 0, "num_thread": 1}
"""Lower values leave the choice to the host."""
DEFAULTS: Final[Mapping[str, str]] = {
    **{name: name for name in ("temperature", "top_k", "top_p", "min_p", "seed", "stop")},
    **{name: name for name in ("presence_penalty", "frequency_penalty")},
    "num_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
}
WHOLE_PARAMETERS: Final = frozenset({"top_k", "seed", "num_predict"})
SAYING_NOTHING_BELOW: Final[Mapping[str, float]] = {"num_predict": 1, "seed": 0, "repeat_penalty": 0.01}
"""The lowest values that say something."""
SMALLEST_CONTEXT: Final = 16
"""Of the setting; smaller ones are rounded up, as Ollama does."""


def settings_and_defaults(options: Options) -> tuple[dict[str, int], dict[str, Any]]:
    """Return the settings and the request defaults that the parameters are; others are noted."""
    values = {name: value for name, value in options.model_dump().items() if value is not None}
    settings = {
        SETTINGS[name]: max(int(value), SMALLEST_CONTEXT if name == "num_ctx" else 0)
        for name, value in values.items()
        if name in SETTINGS and value >= LOWEST[name]
    }
    for name in sorted(values.keys() - SETTINGS.keys() - DEFAULTS.keys()):
        note_ignored(PARAMETERS_PREFIX + name)
    defaults = {
        DEFAULTS[name]: _value(name, value)
        for name, value in values.items()
        if name in DEFAULTS and (name not in SAYING_NOTHING_BELOW or value >= SAYING_NOTHING_BELOW[name])
    }
    return settings, defaults


def _value(name: str, value: Any) -> Any:
    if name == "stop":
        return [value] if isinstance(value, str) else value
    return int(value) if name in WHOLE_PARAMETERS else value


def parameters_of(model: HostedModel) -> Iterator[tuple[str, Any]]:
    """Yield the parameters that are in force for ``model``, by Ollama's names; each stop string by itself."""
    settings = model.entry.settings
    for name, own in SETTINGS.items():
        if (value := getattr(settings, own)) is not None:
            yield name, value
    defaults = model.defaults
    for name, own in DEFAULTS.items():
        value = defaults.get(own)
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                yield name, each


CHARS_PER_TOKEN: Final = 16
"""More than any text has on average that is one: in English about 4. Without the tokenizer of the model, a text is only
refused that is beyond doubt too long."""


def check_preset(given: CreateRequest, context_length: int | None) -> None:
    """Check that the system message and the messages of a model leave room for a conversation.

    ``context_length`` is that of the model in tokens; ``None``: not known, and nothing is checked.

    Raises:
        InvalidRequest: they do not; ``param`` is the one of them that is longer.
    """
    if context_length is None:
        return
    system = len(given.system or "")
    messages = sum(len(message.content or "") for message in given.messages or ())
    if system + messages <= context_length * CHARS_PER_TOKEN:
        return
    field, length = ("system", system) if system >= messages else ("messages", messages)
    raise InvalidRequest(
        f"{field}: {length:,} characters can never fit into the context of this model, which is {context_length:,} "
        "tokens, so that it could not answer anything. Shorten them, or give the model a larger num_ctx.",
        param=field,
    )
