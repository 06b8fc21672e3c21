"""What only completions have: ``echo``, infilling before a suffix, and log probabilities in the legacy shape.

Shapes: https://platform.openai.com/docs/api-reference/completions/object (``logprobs``), which llama.cpp does not
produce, and .../chat/object.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from modelhost.chat.relay import Report
from modelhost.engines.base import Engine, PromptScores
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.events import Envelope, Event, Finish, Logprobs, Piece, PieceStream, Text
from modelhost.exchange.requests import CompletionRequest, Infill
from modelhost.exchange.tasks import Task
from modelhost.workers.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """Puts the prompt before its answer, where the engine does not."""

    scores: PromptScores | None
    """Computes the log probabilities of a prompt, for ``top_logprobs``."""
    top_logprobs: int | None
    """How many alternatives each token gets; ``None``: no log probabilities at all."""
    check: Callable[[int], None]
    """Raises an error if a prompt of that many tokens is too long."""
    is_alone: bool
    """Drop what the model writes after the prompt."""

    async def before(self, written: PieceStream, model: Worker, body: Mapping[str, Any], report: Report) -> PieceStream:
        """Yield the prompt of ``body``, then ``written``, whose report is ``report``; to be closed."""
        async with aclosing(written):
            echoed: Piece | None = await self._echoed(model, body)
            async for piece in written:
                if echoed is not None:
                    yield tuple(replace(event, envelope=piece[0].envelope) for event in echoed)
                    echoed = None
                if kept := self._kept(piece):
                    yield kept
        if self.is_alone and report.usage is not None:
            count = report.usage.get("prompt_tokens") or 0
            report.usage = {**report.usage, "completion_tokens": 0, "total_tokens": count}

    async def _echoed(self, model: Worker, body: Mapping[str, Any]) -> Piece:
        prompt: str | Sequence[int] = body["prompt"]
        if self.scores is None or self.top_logprobs is None:
            text = prompt if isinstance(prompt, str) else await _text(model, prompt)
            return (Text(text=text),)
        scored = await self.scores.of(model, body, top=self.top_logprobs, check=self.check)
        return Text(text=scored.text), Logprobs(logprobs={"content": list(scored.tokens)})

    def _kept(self, piece: Piece) -> Piece:
        return tuple(_cut(event) for event in piece if isinstance(event, Finish)) if self.is_alone else piece


def _cut(end: Finish) -> Finish:
    return replace(end, reason="length", details=None, extra=None)


async def _text(model: Worker, tokens: Sequence[int]) -> str:
    text: str = (await model.call("detokenize", {"tokens": list(tokens)}))["content"]
    return text


SUFFIX: Final = "suffix"


def infill_task(engine: Engine, request: CompletionRequest, infill: Infill) -> Task:
    """Return the task with which ``engine`` answers an infill request.

    Raises:
        InvalidRequest, UnsupportedParameter: the prompt is not text, or the engine does not support infilling.
    """
    if engine.fields("infill"):
        if not all(isinstance(prompt, str) for prompt in request.prompts):
            raise InvalidRequest("prompt: with suffix it has to be text.", param="prompt")
        return "infill"
    if SUFFIX in engine.fields("completions") and not infill.begun and not infill.files:
        return "completions"
    raise UnsupportedParameter(
        f"{SUFFIX}: {engine.name} cannot fill in text before other text. llamacpp can, with a model that was trained "
        "for it (FIM).",
        param=SUFFIX,
    )


def with_one_envelope(model: str) -> Callable[[Piece], Piece]:
    """Return a rewrite that gives all pieces of an answer one envelope: llama.cpp sends none when it infills."""
    envelope = Envelope(
        id=f"cmpl-{secrets.token_hex(16)}", created=int(time.time()), model=model, kind="text_completion"
    )
    return lambda piece: tuple(replace(event, envelope=envelope) for event in piece)


def without_alternatives(piece: Piece) -> Piece:
    """Return ``piece`` with log probabilities of the sampled tokens only."""
    return tuple(map(_without_others, piece))


def _without_others(event: Event) -> Event:
    if not isinstance(event, Logprobs) or not isinstance(tokens := event.logprobs.get("content"), list):
        return event
    return replace(event, logprobs={**event.logprobs, "content": [{**token, "top_logprobs": []} for token in tokens]})


class LegacyLogprobsRewriter:
    """Rewrites the log probabilities of one choice; counts the offset of each token in the text."""

    def __init__(self, top: int) -> None:
        """``top``: alternatives of each token; with 0, as in vLLM, the token itself."""
        self._top = top
        self._offset = 0

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with its log probabilities as parallel lists."""
        return tuple(map(self._rewritten, piece))

    def _rewritten(self, event: Event) -> Event:
        if not isinstance(event, Logprobs) or not event.logprobs:
            return event
        if "content" not in event.logprobs:
            return event  # the engine uses this shape itself
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
        if token["logprob"] is None:  # the first token of a prompt
            return None
        others = token.get("top_logprobs", [])[: self._top] if self._top else [token]
        return {other["token"]: other["logprob"] for other in others}
