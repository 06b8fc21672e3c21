"""A model's request defaults, where a request is silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.chat.requests import validate_fields
from modelhost.engines.base import Engine
from modelhost.errors import ConfigError, UnsupportedParameter

SAME: Final[Mapping[str, frozenset[str]]] = {
    "max_tokens": frozenset({"max_tokens", "max_completion_tokens", "n_predict"}),
    "repetition_penalty": frozenset({"repetition_penalty", "repeat_penalty"}),
    "min_tokens_to_keep": frozenset({"min_tokens_to_keep", "min_keep"}),
}
"""Fields with several names: a request that gives one of them is not silent."""


def check_defaults(defaults: Mapping[str, Any], engine: Engine) -> None:
    """Check that ``engine`` knows all of ``defaults``.

    Raises:
        ConfigError: naming one that it does not know.
    """
    try:
        validate_fields("chat", defaults, engine)
    except UnsupportedParameter as error:
        raise ConfigError(
            f'request default "{error.param}": the engine {engine.name} has no such parameter. Leave it out, or choose '
            "an engine that has it (--engine).",
            param="request_defaults",
        ) from error


def with_defaults(body: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` with those of ``defaults`` that it does not decide itself; ``body`` is left as it is."""
    silent = {
        name: value for name, value in defaults.items() if SAME.get(name, frozenset({name})).isdisjoint(body.keys())
    }
    return {**silent, **body}
