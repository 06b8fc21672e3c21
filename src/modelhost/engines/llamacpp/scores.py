"""Log probabilities of a prompt in llama.cpp, whose server reports them for generated tokens only.

So the model is made to generate the prompt: a grammar allows nothing but the prompt's tokens, one after the other, and
the log probabilities that the server reports are those without the grammar. That takes one request, and a step of the
model for each token, as for an answer of that length.

A grammar cannot produce tokens that end an answer, or parts of a character; generation ends there. For these, one
request each looks the token up among the alternatives to another token. So it does for tokens that a draft model has
guessed; draft models are not used for a single token.
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
"""Part of llama.cpp's error message for a grammar that allows no token."""
GUESSED: Final = "draft_n_accepted"
"""The number of tokens that a draft model has guessed: what llama.cpp reports for those is wrong (build 11549)."""
LIKELY: Final = 256
"""A token is first looked up among this many alternatives, then among all."""
ALL: Final = 2**30
CERTAIN: Final = 1e6
"""A bias that excludes every other token."""
KEPT: Final = ("lora", "id_slot")
"""Fields of the request that also apply to the prompt."""
PLAIN: Final = "a"
"""The token of this text is a whole character, so that llama.cpp reports on it."""

TokenScore = Mapping[str, Any]


class ForcedTokens:
    """The :class:`~modelhost.engines.base.PromptScores` of llama.cpp."""

    async def of(
        self, client: TranslatingClient, body: Mapping[str, Any], *, top: int, check: Callable[[int], None]
    ) -> ScoredPrompt:
        prompt: str | Sequence[int] = body["prompt"]
        kept = {name: body[name] for name in KEPT if name in body}
        if isinstance(prompt, str):
            # llama.cpp tokenizes the prompt of a completion with these.
            request = {"content": prompt, "add_special": True, "parse_special": True}
            tokens: Sequence[int] = (await client.fetch("/tokenize", request))["tokens"]
        else:
            tokens = prompt
        check(len(tokens))
        text = prompt if isinstance(prompt, str) else await _text(client, tokens)
        if not tokens:
            return ScoredPrompt(text=text, tokens=())
        first: TokenScore = {"token": await _text(client, tokens[:1]), "logprob": None, "top_logprobs": []}
        scored = [first]
        while (at := len(scored)) < len(tokens):
            run = _generated(client, _request_for(tokens[:at], kept), tokens[at:], top)
            async with aclosing(run):
                async for score in run:
                    if score["id"] != tokens[len(scored)]:
                        break  # one before it was left out
                    scored.append(score)
            if len(scored) < len(tokens):
                scored.append(
                    await _looked_up(client, _request_for(tokens[: len(scored)], kept), tokens[len(scored)], top)
                )
        return ScoredPrompt(text=text, tokens=scored)


async def _text(client: TranslatingClient, tokens: Sequence[int]) -> str:
    text: str = (await client.fetch("/detokenize", {"tokens": list(tokens)}))["content"]
    return text


async def _generated(
    client: TranslatingClient, request: Mapping[str, Any], wanted: Sequence[int], top: int
) -> AsyncGenerator[TokenScore, None]:
    """Yield the scores of the tokens ``wanted`` after the prompt of ``request``, as far as a grammar can produce
    them."""
    chain = " ".join(f"<[{token}]>" for token in wanted)
    limits = {"max_tokens": len(wanted), "logprobs": max(1, top), "timings_per_token": True}
    request = {**request, "grammar": f"root ::= {chain}", **limits}
    try:
        async with client.fetch_events(COMPLETIONS, request) as events, aclosing(events):
            async for event in events:
                if (event.get("timings") or {}).get(GUESSED):
                    return
                for score in _tokens_in(client, event):
                    yield score
    except EngineError as error:
        if OUT_OF_GRAMMAR not in error.message:
            raise


async def _looked_up(client: TranslatingClient, shared: Mapping[str, Any], wanted: int, top: int) -> TokenScore:
    """Return the score of ``wanted`` from the alternatives to another token that is generated in its place."""
    plain = (await client.fetch("/tokenize", {"content": PLAIN, "add_special": False}))["tokens"][-1]
    for count in (max(LIKELY, top), ALL):
        request = {**shared, "logit_bias": [[plain, CERTAIN]], "max_tokens": 1, "logprobs": count}
        async with client.fetch_events(COMPLETIONS, request) as events, aclosing(events):
            async for event in events:
                for score in _tokens_in(client, event):
                    likely = score["top_logprobs"]
                    for each in (*likely, score):
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
