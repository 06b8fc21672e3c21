"""Checks of vLLM's ``min_tokens`` and ``stop_token_ids``, for the other engines that support them.

Source: https://docs.vllm.ai/en/latest/api/vllm/sampling_params.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.errors import InvalidRequest

MIN_TOKENS: Final = "min_tokens"
STOP_TOKEN_IDS: Final = "stop_token_ids"  # noqa: S105 (no password)
MOST_IDS: Final = 64


def check_token_limits(body: Mapping[str, Any]) -> None:
    """Check both fields of ``body``, if present.

    Raises:
        InvalidRequest: one is not valid.
    """
    if (least := body.get(MIN_TOKENS)) is not None:
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        if not _is_count(least):
            raise InvalidRequest("min_tokens: it has to be a whole number from 0.", param=MIN_TOKENS)
        if most is not None and least > most:
            raise InvalidRequest(f"min_tokens: it cannot be more than max_tokens, {most}.", param=MIN_TOKENS)
    if (ids := body.get(STOP_TOKEN_IDS)) is not None and not _are_ids(ids):
        message = f"stop_token_ids: it has to be a list of up to {MOST_IDS} tokens, whole numbers from 0."
        raise InvalidRequest(message, param=STOP_TOKEN_IDS)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_IDS and all(map(_is_count, value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
