"""A model's request defaults, applied to the fields that a request leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from modelhost.exchange.requests import GenerationRequest, Sampling

G = TypeVar("G", bound=GenerationRequest)

ALIASES: Final[Mapping[str, frozenset[str]]] = {
    "max_tokens": frozenset({"max_tokens", "max_completion_tokens", "n_predict"}),
    "repetition_penalty": frozenset({"repetition_penalty", "repeat_penalty"}),
    "min_tokens_to_keep": frozenset({"min_tokens_to_keep", "min_keep"}),
}
"""Fields with several names: a request that sets one of them has set the field."""
SAMPLING_FIELDS: Final = Sampling.__struct_fields__


def with_defaults(request: G, defaults: Mapping[str, Any]) -> G:
    """Return ``request`` with ``defaults`` for the fields that it does not set."""
    if not defaults:
        return request
    given = {name for name in SAMPLING_FIELDS if getattr(request.sampling, name) is not None} | request.extra.keys()
    missing = {key: value for key, value in defaults.items() if ALIASES.get(key, frozenset({key})).isdisjoint(given)}
    of_sampling = {name: _frozen(value) for name, value in missing.items() if name in SAMPLING_FIELDS}
    others = {name: value for name, value in missing.items() if name not in SAMPLING_FIELDS}
    if of_sampling:
        request = replace(request, sampling=replace(request.sampling, **of_sampling))
    return replace(request, extra={**others, **request.extra}) if others else request


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
