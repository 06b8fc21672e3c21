"""The shape of a chunk, as far as the host itself looks into it: what an engine sends may be anything."""

from __future__ import annotations

from typing import Any, Final

TEXTS: Final = ("role", "content", "refusal", "reasoning_content")
COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
MOST_PIECES: Final = 4096
"""Calls, or choices, that one answer may have: those before it are made room for."""


def is_chunk(payload: Any) -> bool:
    """Whether ``payload`` is a piece of an answer."""
    if not isinstance(payload, dict) or not isinstance(payload.get("choices"), list):
        return False
    return all(_is_choice(choice) for choice in payload["choices"])


def is_usage(usage: Any) -> bool:
    """Whether ``usage`` counts tokens."""
    if not isinstance(usage, dict) or not all(_is_count(usage.get(name, 0)) for name in COUNTS):
        return False
    details = usage.get("prompt_tokens_details")
    return details is None or (isinstance(details, dict) and _is_count(details.get("cached_tokens", 0)))


def _is_choice(choice: Any) -> bool:
    if not isinstance(choice, dict) or not _is_place(choice.get("index")):
        return False
    if not isinstance(choice.get("logprobs"), dict | None) or not isinstance(choice.get("finish_reason"), str | None):
        return False
    return _is_delta(choice["delta"]) if "delta" in choice else isinstance(choice.get("text", ""), str)


def _is_delta(delta: Any) -> bool:
    if not isinstance(delta, dict) or not all(isinstance(delta.get(name), str | None) for name in TEXTS):
        return False
    calls = delta.get("tool_calls")
    return calls is None or (isinstance(calls, list) and all(map(_is_call, calls)))


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
