"""What is particular to completions: ``echo``, filling in before a suffix, and log probabilities in the legacy shape."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

from msgspec.structs import replace

from modelhost.chat.relay import Report
from modelhost.engines.base import Engine, PromptScores, TranslatingClient
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.events import Envelope, Event, Finish, Logprobs, Piece, PieceStream, Text
from modelhost.exchange.requests import CompletionRequest, Infill
from modelhost.exchange.tasks import Task


class DetokenizingModel(TranslatingClient, Protocol):
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

    async def before(
        self, written: PieceStream, model: DetokenizingModel, body: Mapping[str, Any], report: Report
    ) -> PieceStream:
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

    async def _echoed(self, model: DetokenizingModel, body: Mapping[str, Any]) -> Piece:
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


async def _text(model: DetokenizingModel, tokens: Sequence[int]) -> str:
    text: str = (await model.call("detokenize", {"tokens": list(tokens)}))["content"]
    return text


SUFFIX: Final = "suffix"


def infill_task(engine: Engine, request: CompletionRequest, infill: Infill) -> Task:
    """Return the task of ``engine`` that ``request`` is one of.

    Raises:
        InvalidRequest, UnsupportedParameter: saying what is wrong with the request, or what helps.
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


def named(model: str) -> Callable[[Piece], Piece]:
    """Return what gives all pieces of an answer of ``model`` one envelope: llama.cpp tells none when it fills in."""
    envelope = Envelope(
        id=f"cmpl-{secrets.token_hex(16)}", created=int(time.time()), model=model, kind="text_completion"
    )
    return lambda piece: tuple(replace(event, envelope=envelope) for event in piece)


def without_alternatives(piece: Piece) -> Piece:
    """Return ``piece`` with the log probabilities of the tokens that stand in it alone."""
    return tuple(map(_without_others, piece))


def _without_others(event: Event) -> Event:
    if not isinstance(event, Logprobs) or not isinstance(tokens := event.logprobs.get("content"), list):
        return event
    return replace(event, logprobs={**event.logprobs, "content": [{**token, "top_logprobs": []} for token in tokens]})


class LegacyLogprobsRewriter:
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
