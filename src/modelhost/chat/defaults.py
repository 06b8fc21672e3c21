"""A model's request defaults, where a request is silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SAME: Final[Mapping[str, frozenset[str]]] = {
    "max_tokens": frozenset({"max_tokens", "max_completion_tokens", "n_predict"}),
    "repetition_penalty": frozenset({"repetition_penalty", "repeat_penalty"}),
    "min_tokens_to_keep": frozenset({"min_tokens_to_keep", "min_keep"}),
}
"""Fields with several names: a request that gives one of them is not silent."""


def with_defaults(body: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` with those of ``defaults`` that it does not decide itself; ``body`` is left as it is."""
    silent = {
        name: value for name, value in defaults.items() if SAME.get(name, frozenset({name})).isdisjoint(body.keys())
    }
    return {**silent, **body}
