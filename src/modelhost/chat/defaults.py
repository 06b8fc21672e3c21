"""A model's request defaults, where a request is silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from modelhost.exchange.requests import GenerationRequest, Sampling

G = TypeVar("G", bound=GenerationRequest)

SAME: Final[Mapping[str, frozenset[str]]] = {
    "max_tokens": frozenset({"max_tokens", "max_completion_tokens", "n_predict"}),
    "repetition_penalty": frozenset({"repetition_penalty", "repeat_penalty"}),
    "min_tokens_to_keep": frozenset({"min_tokens_to_keep", "min_keep"}),
}
"""Fields with several names: a request that gives one of them is not silent."""
OF_SAMPLING: Final = Sampling.__struct_fields__


def with_defaults(request: G, defaults: Mapping[str, Any]) -> G:
    """Return ``request`` with those of ``defaults`` that it does not decide itself."""
    if not defaults:
        return request
    given = {name for name in OF_SAMPLING if getattr(request.sampling, name) is not None} | request.extra.keys()
    silent = {name: value for name, value in defaults.items() if SAME.get(name, frozenset({name})).isdisjoint(given)}
    of_sampling = {name: _frozen(value) for name, value in silent.items() if name in OF_SAMPLING}
    others = {name: value for name, value in silent.items() if name not in OF_SAMPLING}
    if of_sampling:
        request = replace(request, sampling=replace(request.sampling, **of_sampling))
    return replace(request, extra={**others, **request.extra}) if others else request


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
