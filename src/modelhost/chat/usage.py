"""Sums of OpenAI's usage objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def added(total: Mapping[str, Any] | None, usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``usage`` added to ``total``, counts inside of details too."""
    if total is None:
        return dict(usage)
    return {key: _sum(total.get(key), usage.get(key)) for key in {**total, **usage}}


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return added(one, other) if isinstance(one, Mapping) else one + other
