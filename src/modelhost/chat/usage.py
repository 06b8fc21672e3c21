"""Token usage in OpenAI's shape: sums, and the running count of ``continuous_usage_stats``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from modelhost.exchange.events import Event, Extra, PartialUsage, Piece, Reasoning, Refusal, Text, ToolCallPiece, Usage


def added(total: Mapping[str, Any] | None, usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``usage`` added to ``total``, counts inside of details too."""
    if total is None:
        return dict(usage)
    return {key: _sum(total.get(key), usage.get(key)) for key in {**total, **usage}}


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return added(one, other) if isinstance(one, Mapping) else one + other


UsageReader = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], Mapping[str, Any]] | None]
"""Returns the tokens so far that an engine tells beside the fields of OpenAI's chunks, and the rest of those."""
WRITTEN: Final = (Text, Reasoning, Refusal, ToolCallPiece)


class RunningUsageRewriter:
    """Counts one choice of an answer."""

    def __init__(self, usage_in: UsageReader) -> None:
        self._usage_in = usage_in
        self._told: Mapping[str, Any] = _usage(0, 0)
        self._written = 0

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with the tokens so far."""
        first = piece[0]
        if first.__class__ is Usage:
            return piece
        events = [event for event in piece if event.__class__ is not Usage]
        told = next((event.usage for event in piece if isinstance(event, Usage)), None)
        if told is None and first.extra is not None and (found := self._usage_in(first.extra.chunk)) is not None:
            told, rest = found
            events[0] = replace(first, extra=_with_chunk(first.extra, rest))
        self._count(events, told)
        return (*events, PartialUsage(envelope=first.envelope, usage=self._told))

    def _count(self, events: list[Event], told: Mapping[str, Any] | None) -> None:
        self._written += any(isinstance(event, WRITTEN) for event in events)
        if told is not None:
            self._told = told
        elif self._told["completion_tokens"] < self._written:
            self._told = _usage(self._told["prompt_tokens"], self._written)


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _with_chunk(extra: Extra, chunk: Mapping[str, Any]) -> Extra | None:
    """Return ``extra`` with other fields of the chunk; ``None``: it holds nothing."""
    return replace(extra, chunk=chunk) if chunk or extra.choice or extra.delta else None
