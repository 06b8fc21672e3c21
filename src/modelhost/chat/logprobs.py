"""Log probabilities in OpenAI's shapes, of as many tokens as are asked for.

Shapes: https://platform.openai.com/docs/api-reference/chat/object, and for ``/v1/completions``, which llama.cpp does
not speak, .../completions/object (``logprobs``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from modelhost.exchange.events import Event, Logprobs, Piece


def without_others(piece: Piece) -> Piece:
    """Return ``piece`` with the log probabilities of the tokens that stand in it alone."""
    return tuple(map(_without_others, piece))


def _without_others(event: Event) -> Event:
    if not isinstance(event, Logprobs) or not isinstance(tokens := event.logprobs.get("content"), list):
        return event
    return replace(event, logprobs={**event.logprobs, "content": [{**token, "top_logprobs": []} for token in tokens]})


class LegacyLogprobs:
    """Rewrites the pieces of one choice of a completion; counts the offset of each token in the text."""

    def __init__(self, top: int) -> None:
        """``top``: how many tokens are told of in the place of each; at 0, as with vLLM, the one that stands there."""
        self._top = top
        self._offset = 0

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with the log probabilities of its choices as parallel lists."""
        return tuple(map(self._rewritten, piece))

    def _rewritten(self, event: Event) -> Event:
        if not isinstance(event, Logprobs) or not event.logprobs:
            return event
        if "content" not in event.logprobs:
            return event  # of an engine that has this shape itself
        return replace(event, logprobs=self._parallel(event.logprobs["content"]))

    def _parallel(self, tokens: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        lists: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            lists["tokens"].append(token["token"])
            lists["token_logprobs"].append(token["logprob"])
            lists["top_logprobs"].append(self._likely(token))
            lists["text_offset"].append(self._offset)
            self._offset += len(token["token"])
        return lists

    def _likely(self, token: Mapping[str, Any]) -> dict[str, float] | None:
        if token["logprob"] is None:  # the first of a prompt, which nothing stands before
            return None
        others = token.get("top_logprobs", [])[: self._top] if self._top else [token]
        return {other["token"]: other["logprob"] for other in others}
