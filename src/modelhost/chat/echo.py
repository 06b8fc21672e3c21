"""``echo``: the prompt of a completion before what its model writes, where the engine does not put it there itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from msgspec.structs import replace

from modelhost.chat.relay import Report
from modelhost.engines.base import PromptScores, TranslatingClient
from modelhost.exchange.events import Finish, Logprobs, Piece, PieceStream, Text
from modelhost.exchange.tasks import Task


class Asking(TranslatingClient, Protocol):
    """A model that can be asked for the text of tokens."""

    async def call(self, task: Task, body: dict[str, Any]) -> Any: ...


class Echo:
    """Puts prompts before the answers to them."""

    def __init__(
        self,
        *,
        scores: PromptScores | None,
        top_logprobs: int | None,
        check: Callable[[int], None],
        is_alone: bool,
    ) -> None:
        """Take what is wanted.

        Args:
            scores: finds out how likely a prompt is, where ``top_logprobs`` asks for that.
            top_logprobs: how many tokens are told of in the place of each; ``None``: not even that one.
            check: raises an error for a prompt of so many tokens, if it is too long.
            is_alone: nothing is to follow the prompt, although the model writes something.
        """
        self._scores = scores
        self._top_logprobs = top_logprobs
        self._check = check
        self._is_alone = is_alone

    async def before(self, written: PieceStream, model: Asking, body: Mapping[str, Any], report: Report) -> PieceStream:
        """Yield the prompt of ``body`` and then ``written``, of which ``report`` tells; to be closed."""
        async with aclosing(written):
            echoed: Piece | None = await self._echoed(model, body)
            async for piece in written:
                if echoed is not None:
                    yield tuple(replace(event, envelope=piece[0].envelope) for event in echoed)
                    echoed = None
                if kept := self._kept(piece):
                    yield kept
        if self._is_alone and report.usage is not None:
            count = report.usage.get("prompt_tokens") or 0
            report.usage = {**report.usage, "completion_tokens": 0, "total_tokens": count}

    async def _echoed(self, model: Asking, body: Mapping[str, Any]) -> Piece:
        prompt: str | Sequence[int] = body["prompt"]
        if self._scores is None or self._top_logprobs is None:
            text = prompt if isinstance(prompt, str) else await _text(model, prompt)
            return (Text(text=text),)
        scored = await self._scores.of(model, body, top=self._top_logprobs, check=self._check)
        return Text(text=scored.text), Logprobs(logprobs={"content": list(scored.tokens)})

    def _kept(self, piece: Piece) -> Piece:
        return tuple(_cut(event) for event in piece if isinstance(event, Finish)) if self._is_alone else piece


def _cut(end: Finish) -> Finish:
    return replace(end, reason="length", details=None, extra=None)


async def _text(model: Asking, tokens: Sequence[int]) -> str:
    text: str = (await model.call("detokenize", {"tokens": list(tokens)}))["content"]
    return text
