"""Token usage in OpenAI's shape: sums, and the running count of ``continuous_usage_stats``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from modelhost.exchange.events import Event, Extra, PartialUsage, Piece, Reasoning, Refusal, Text, ToolCallPiece, Usage


def add_usage(total: Mapping[str, Any] | None, usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``usage`` added to ``total``, including the counts in its details."""
    if total is None:
        return dict(usage)
    return {key: _sum(total.get(key), usage.get(key)) for key in {**total, **usage}}


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return add_usage(one, other) if isinstance(one, Mapping) else one + other


UsageReader = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], Mapping[str, Any]] | None]
"""Splits an engine's own fields of a chunk into the running usage and the rest; ``None`` if they have no usage."""
WRITTEN: Final = (Text, Reasoning, Refusal, ToolCallPiece)


class RunningUsageRewriter:
    """Adds the usage so far to each piece of one choice (``stream_options.continuous_usage_stats``, as in vLLM).

    Where the engine does not report it, every piece with generated content counts as one token, and the prompt as none
    until the end, which has the engine's count.
    """

    def __init__(self, usage_in: UsageReader) -> None:
        self._usage_in = usage_in
        self._so_far: Mapping[str, Any] = _usage(0, 0)
        self._written = 0

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with the usage so far."""
        first = piece[0]
        if first.__class__ is Usage:
            return piece
        events = [event for event in piece if event.__class__ is not Usage]
        reported = next((event.usage for event in piece if isinstance(event, Usage)), None)
        if reported is None and first.extra is not None and (found := self._usage_in(first.extra.chunk)) is not None:
            reported, rest = found
            events[0] = replace(first, extra=_with_chunk(first.extra, rest))
        self._count(events, reported)
        return (*events, PartialUsage(envelope=first.envelope, usage=self._so_far))

    def _count(self, events: list[Event], reported: Mapping[str, Any] | None) -> None:
        self._written += any(isinstance(event, WRITTEN) for event in events)
        if reported is not None:
            self._so_far = reported
        elif self._so_far["completion_tokens"] < self._written:
            self._so_far = _usage(self._so_far["prompt_tokens"], self._written)


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _with_chunk(extra: Extra, chunk: Mapping[str, Any]) -> Extra | None:
    """Return ``extra`` with other fields of the chunk, or ``None`` if it is empty."""
    return replace(extra, chunk=chunk) if chunk or extra.choice or extra.delta else None
