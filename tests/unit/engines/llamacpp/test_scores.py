"""How llama.cpp is made to write a prompt, and what becomes of tokens that it does not tell of by itself."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from modelhost.engines.base import ScoredPrompt
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.scores import ForcedTokens
from modelhost.errors import ContextLengthExceeded, EngineError, ModelhostError

pytestmark = pytest.mark.usefixtures("virtual_time")
PLAIN = 97
VOCABULARY = 1000


class Server:
    """Answers as llama.cpp does, which does not tell of ``silent`` tokens; to those ``outside`` no grammar leads."""

    def __init__(
        self,
        *,
        silent: Sequence[int] = (),
        outside: Sequence[int] = (),
        guessed: Sequence[int] = (),
        breaks: bool = False,
    ) -> None:
        self._silent, self._outside, self._guessed, self._breaks = silent, outside, guessed, breaks
        self.asked: list[Mapping[str, Any]] = []

    async def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        assert body is not None
        if path == "/detokenize":
            return {"content": "".join(map(chr, body["tokens"]))}
        return {"tokens": [ord(letter) for letter in body["content"]]}

    @asynccontextmanager
    async def fetch_events(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[AsyncGenerator[Mapping[str, Any], None]]:
        assert path == "/v1/completions"
        self.asked.append(body)
        async with aclosing(self._events(body)) as events:
            yield events

    async def _events(self, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        if self._breaks:
            yield {"error": {"message": "it broke", "type": "server_error"}}
        elif "grammar" not in body:
            likely = [_told(token) for token in range(min(body["logprobs"], VOCABULARY))]
            yield _event({**_told(PLAIN), "top_logprobs": likely})
        for number in re.findall(r"<\[(\d+)\]>", body.get("grammar", "")):
            token = int(number)
            if token in self._outside:
                yield {"error": {"message": "Unexpected empty grammar stack after accepting piece", "code": 500}}
                return
            if token in self._guessed:
                yield {**_event({**_told(token), "logprob": 0.0}), "timings": {"draft_n_accepted": 1}}
            yield _event() if token in self._silent else _event(_told(token))

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        return LlamaCpp().translate_error(status, payload, model="m", worker="w")


def _told(token: int) -> dict[str, Any]:
    return {"id": token, "token": chr(token), "logprob": -float(token), "top_logprobs": [{"id": 1}, {"id": 2}]}


def _event(*told: Mapping[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": "", "logprobs": {"content": list(told)} if told else None}]}


def _check(tokens: int) -> None:
    if tokens > 10:
        raise ContextLengthExceeded.of("m", tokens=tokens, limit=10)


async def _scored(server: Server, prompt: str | list[int], top: int = 1) -> ScoredPrompt:
    return await ForcedTokens().of(server, {"prompt": prompt}, top=top, check=_check)


def _ids(scored: ScoredPrompt) -> list[Any]:
    return [told.get("id") for told in scored.tokens]


async def test_one_request_has_a_prompt_written_token_by_token() -> None:
    server = Server()
    scored = await _scored(server, "abc")
    assert scored.text == "abc"
    assert [(told["token"], told["logprob"]) for told in scored.tokens] == [("a", None), ("b", -98.0), ("c", -99.0)]
    (asked,) = server.asked
    assert (asked["prompt"], asked["grammar"]) == ([97], "root ::= <[98]> <[99]>")
    assert (asked["max_tokens"], asked["logprobs"], asked["stream"]) == (2, 1, True)


@pytest.mark.parametrize("kind", ["silent", "outside", "guessed"])
@pytest.mark.parametrize("odd", [[2], [4], [5], [2, 3], [2, 3, 4, 5]], ids=str)
async def test_tokens_that_it_does_not_tell_of_are_looked_for(kind: str, odd: list[int]) -> None:
    server = Server(**{kind: odd})  # type: ignore[arg-type]
    scored = await _scored(server, [1, 2, 3, 4, 5])
    assert _ids(scored) == [None, 2, 3, 4, 5]
    assert [told["logprob"] for told in scored.tokens] == [None, -2.0, -3.0, -4.0, -5.0]
    searches = [asked for asked in server.asked if "logit_bias" in asked]
    assert [asked["prompt"] for asked in searches] == [list(range(1, token)) for token in odd]


async def test_an_unlikely_one_is_looked_for_among_all() -> None:
    server = Server(silent=[900])
    scored = await _scored(server, [1, 900], top=2)
    assert scored.tokens[1]["logprob"] == -900.0
    assert [each["id"] for each in scored.tokens[1]["top_logprobs"]] == [0, 1]
    first, second = [asked["logprobs"] for asked in server.asked if "logit_bias" in asked]
    assert first < VOCABULARY < second


async def test_what_is_too_long_is_not_begun_with() -> None:
    server = Server()
    with pytest.raises(ContextLengthExceeded):
        await _scored(server, "x" * 11)
    assert not server.asked


async def test_an_error_that_is_not_about_the_grammar_is_told() -> None:
    with pytest.raises(EngineError, match="it broke"):
        await _scored(Server(breaks=True), "abc")


@pytest.mark.parametrize("prompt", ["", "a"])
async def test_a_prompt_without_a_second_token_needs_no_request(prompt: str) -> None:
    server = Server()
    assert len((await _scored(server, prompt)).tokens) == len(prompt)
    assert not server.asked
