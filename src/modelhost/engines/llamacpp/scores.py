"""How likely a prompt is to llama.cpp, whose server tells that of written tokens only: it is made to write the prompt.

A grammar that allows nothing but the prompt's tokens has the model write them one after the other, and what the server
tells of each is how likely it was without the grammar. That costs a step of the model for each token, as for an answer
of that length, and one request.

Some tokens a grammar cannot lead to, and the run ends there: those that end an answer, and parts of a character. They
are looked for, one request each, among what is likely in the place of another token. So are those that a draft model
has guessed, which it does not do where a single token is to be written.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final

from modelhost.engines.base import OPENAI_PATHS, ScoredPrompt, TranslatingClient
from modelhost.errors import EngineError

COMPLETIONS: Final = OPENAI_PATHS["completions"]
OUT_OF_GRAMMAR: Final = "grammar"
"""Stands in what llama.cpp says where a grammar leads to no token."""
GUESSED: Final = "draft_n_accepted"
"""How many tokens a draft model has guessed: what llama.cpp tells of those is wrong (build 11549)."""
LIKELY: Final = 256
"""Among so many tokens one is looked for first, and then among all."""
ALL: Final = 2**30
CERTAIN: Final = 1e6
"""A bias that leaves no other token."""
KEPT: Final = ("lora", "id_slot")
"""Fields of the request that hold for the prompt, too."""
PLAIN: Final = "a"
"""The token of this text is a whole character, so that llama.cpp tells of it."""

TokenScore = Mapping[str, Any]


class ForcedTokens:
    """The :class:`~modelhost.engines.base.PromptScores` of llama.cpp."""

    async def of(
        self, client: TranslatingClient, body: Mapping[str, Any], *, top: int, check: Callable[[int], None]
    ) -> ScoredPrompt:
        prompt: str | Sequence[int] = body["prompt"]
        kept = {name: body[name] for name in KEPT if name in body}
        if isinstance(prompt, str):
            # As llama.cpp reads the prompt of a completion.
            asked = {"content": prompt, "add_special": True, "parse_special": True}
            tokens: Sequence[int] = (await client.ask("/tokenize", asked))["tokens"]
        else:
            tokens = prompt
        check(len(tokens))
        text = prompt if isinstance(prompt, str) else await _text(client, tokens)
        if not tokens:
            return ScoredPrompt(text=text, tokens=())
        first: TokenScore = {"token": await _text(client, tokens[:1]), "logprob": None, "top_logprobs": []}
        scored = [first]
        while (at := len(scored)) < len(tokens):
            run = _forced(client, _request_for(tokens[:at], kept), tokens[at:], top)
            async with aclosing(run):
                async for told in run:
                    if told["id"] != tokens[len(scored)]:
                        break  # one before it was left out
                    scored.append(told)
            if len(scored) < len(tokens):
                scored.append(
                    await _searched(client, _request_for(tokens[: len(scored)], kept), tokens[len(scored)], top)
                )
        return ScoredPrompt(text=text, tokens=scored)


async def _text(client: TranslatingClient, tokens: Sequence[int]) -> str:
    text: str = (await client.ask("/detokenize", {"tokens": list(tokens)}))["content"]
    return text


async def _forced(
    client: TranslatingClient, asked: Mapping[str, Any], wanted: Sequence[int], top: int
) -> AsyncGenerator[TokenScore, None]:
    """Yield what llama.cpp tells of ``wanted`` behind the prompt of ``asked``, as far as a grammar leads it."""
    chain = " ".join(f"<[{token}]>" for token in wanted)
    limits = {"max_tokens": len(wanted), "logprobs": max(1, top), "timings_per_token": True}
    asked = {**asked, "grammar": f"root ::= {chain}", **limits}
    try:
        async with client.listen(COMPLETIONS, asked) as events, aclosing(events):
            async for event in events:
                if (event.get("timings") or {}).get(GUESSED):
                    return
                for told in _tokens_in(client, event):
                    yield told
    except EngineError as error:
        if OUT_OF_GRAMMAR not in error.message:
            raise


async def _searched(client: TranslatingClient, shared: Mapping[str, Any], wanted: int, top: int) -> TokenScore:
    """Return what llama.cpp tells of ``wanted`` when another token is written in its place."""
    plain = (await client.ask("/tokenize", {"content": PLAIN, "add_special": False}))["tokens"][-1]
    for count in (max(LIKELY, top), ALL):
        asked = {**shared, "logit_bias": [[plain, CERTAIN]], "max_tokens": 1, "logprobs": count}
        async with client.listen(COMPLETIONS, asked) as events, aclosing(events):
            async for event in events:
                for told in _tokens_in(client, event):
                    likely = told["top_logprobs"]
                    for each in (*likely, told):
                        if each["id"] == wanted:
                            return {**each, "top_logprobs": likely[:top]}
    missing = {"error": {"message": f"it does not say how likely the token {wanted} is"}}
    raise client.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, missing)


def _request_for(before: Sequence[int], kept: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": list(before), "stream": True, "temperature": 0, "cache_prompt": True, **kept}


def _tokens_in(client: TranslatingClient, event: Mapping[str, Any]) -> Iterator[TokenScore]:
    if "error" in event:
        raise client.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, event)
    for choice in event.get("choices") or ():
        yield from (choice.get("logprobs") or {}).get("content") or ()
