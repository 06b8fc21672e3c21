"""``parameters`` of Ollama's models, as settings and request defaults of this host, and back; and whether what a model
says before each conversation fits into its context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelhost.errors import InvalidRequest
from modelhost.http.ollama.bodies import Options
from modelhost.http.ollama.model_bodies import CreateRequest
from modelhost.http.validation import note_ignored
from modelhost.models.residency.hosted import HostedModel

PREFIX: Final = "parameters."
SETTINGS: Final[Mapping[str, str]] = {"num_ctx": "context_length", "num_gpu": "gpu_layers", "num_thread": "threads"}
LOWEST: Final[Mapping[str, int]] = {"num_ctx": 1, "num_gpu": 0, "num_thread": 1}
"""Lower values leave the choice to the host."""
DEFAULTS: Final[Mapping[str, str]] = {
    **{name: name for name in ("temperature", "top_k", "top_p", "min_p", "seed", "stop")},
    **{name: name for name in ("presence_penalty", "frequency_penalty")},
    "num_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
}
WHOLE: Final = frozenset({"top_k", "seed", "num_predict"})
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
        note_ignored(PREFIX + name)
    defaults = {
        DEFAULTS[name]: _value(name, value)
        for name, value in values.items()
        if name in DEFAULTS and (name not in SAYING_NOTHING_BELOW or value >= SAYING_NOTHING_BELOW[name])
    }
    return settings, defaults


def _value(name: str, value: Any) -> Any:
    if name == "stop":
        return [value] if isinstance(value, str) else value
    return int(value) if name in WHOLE else value


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
