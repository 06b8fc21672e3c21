"""JSON that keeps all digits of integers beyond orjson's 64 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
from pydantic_core import from_json

MAX_DEPTH: Final = 254
"""The nesting that orjson can write."""
LARGEST: Final = 2**64 - 1
SMALLEST: Final = -(2**63)


def decode(text: str | bytes) -> Any:
    """Parse ``text`` into a value that :func:`encode` can write.

    Raises:
        ValueError: it is not JSON, holds a lone surrogate, or has 200 levels.
    """
    return from_json(text, allow_inf_nan=False)


def encode(value: Any, *, default: Callable[[Any], Any] | None = None, option: int | None = None) -> bytes:
    """Return ``value`` as JSON, with all digits of integers beyond 64 bits.

    Raises:
        orjson.JSONEncodeError: it cannot be written otherwise: it holds a lone surrogate, or has too many levels.
    """
    try:
        return orjson.dumps(value, default, option)
    except orjson.JSONEncodeError:
        return orjson.dumps(_writable(value, 0), default, option)


def _writable(value: Any, depth: int) -> Any:
    if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
        return orjson.Fragment(str(value))
    if depth > MAX_DEPTH:  # which orjson refuses, in better words than Python
        return value
    if isinstance(value, dict):
        return {key: _writable(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(each, depth + 1) for each in value]
    return value
