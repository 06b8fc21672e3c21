"""The shape of a chunk, as far as the host itself looks into it: what an engine sends may be anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TEXTS: Final = frozenset({"role", "content", "refusal", "reasoning_content"})
OF_A_CHOICE: Final[Mapping[str, type]] = {"logprobs": dict, "finish_reason": str, "text": str}
COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
MOST_PIECES: Final = 4096
"""Calls, or choices, that one answer may have: those before it are made room for."""


def is_chunk(payload: Any) -> bool:
    """Whether ``payload`` is a piece of an answer. Asked of every token that the host opens: hence the plain loops."""
    if payload.__class__ is not dict or (choices := payload.get("choices")).__class__ is not list:
        return False
    for choice in choices:
        if choice.__class__ is not dict or not _is_place(choice.get("index")):
            return False
        for key, value in choice.items():
            if key == "delta":
                if value.__class__ is not dict or not _is_delta(value):
                    return False
            elif value is None:
                if key == "text":
                    return False
            elif (kind := OF_A_CHOICE.get(key)) is not None and value.__class__ is not kind:
                return False
    return True


def is_usage(usage: Any) -> bool:
    """Whether ``usage`` counts tokens."""
    if not isinstance(usage, dict) or not all(_is_count(usage.get(name, 0)) for name in COUNTS):
        return False
    details = usage.get("prompt_tokens_details")
    return details is None or (isinstance(details, dict) and _is_count(details.get("cached_tokens", 0)))


def _is_delta(delta: dict[str, Any]) -> bool:
    for key, value in delta.items():
        if value is None or value.__class__ is str:
            if key == "tool_calls" and value is not None:
                return False
        elif key == "tool_calls":
            if value.__class__ is not list or not all(map(_is_call, value)):
                return False
        elif key in TEXTS:
            return False
    return True


def _is_call(call: Any) -> bool:
    if not isinstance(call, dict) or not _is_place(call.get("index", 0)):
        return False
    function = call.get("function")
    if not isinstance(call.get("id"), str | None) or not isinstance(function, dict | None):
        return False
    return function is None or all(isinstance(function.get(name), str | None) for name in ("name", "arguments"))


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < MOST_PIECES


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and value >= 0)
