"""``min_tokens`` and ``stop_token_ids`` as grammars. That llama.cpp follows them, the tests of the engines show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from modelhost.engines.launch import Ready
from modelhost.engines.llamacpp.ends import MARK, MOST_AT_LEAST, min_tokens_grammar, stop_grammar
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.preparation import LlamaCppPreparation
from modelhost.engines.remote.engine import Remote
from modelhost.errors import InvalidRequest, UnsupportedParameter
from tests.support.nano_hf import nano_tokenizer

HELLO = [{"role": "user", "content": "Hello"}]
VOCABULARY = 1024
READY = Ready(url="", features=("LLGUIDANCE",))


def adapt_request(**fields: Any) -> dict[str, Any]:
    return LlamaCpp().adapt("chat", {"messages": HELLO, **fields})


@pytest.mark.parametrize(
    ("least", "parts"),
    [(1, "any{1}"), (99, "any{99}"), (100, "hundred{1}"), (250, "hundred{2} any{50}")],
)
def test_the_least_number_of_tokens_is_counted_in_hundreds(least: int, parts: str) -> None:
    assert f"least ::= {parts}\n" in min_tokens_grammar(least)
    assert adapt_request(min_tokens=least)["grammar"] == min_tokens_grammar(least)


def test_what_says_nothing_is_left_out() -> None:
    body = adapt_request(min_tokens=0, stop_token_ids=[])
    assert {"grammar", "min_tokens", "stop_token_ids"}.isdisjoint(body)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"min_tokens": -1}, "min_tokens"),
        ({"min_tokens": True}, "min_tokens"),
        ({"min_tokens": 6, "max_tokens": 5}, "min_tokens"),
        ({"min_tokens": MOST_AT_LEAST + 1}, "min_tokens"),
        ({"stop_token_ids": 5}, "stop_token_ids"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"stop_token_ids": list(range(65))}, "stop_token_ids"),
    ],
    ids=str,
)
def test_what_they_cannot_be_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        adapt_request(**fields)
    assert raised.value.param == param


@pytest.mark.parametrize("field", [{"min_tokens": 3}, {"stop_token_ids": [3]}], ids=str)
@pytest.mark.parametrize(
    "other",
    [
        {"grammar": 'root ::= "a"'},
        {"json_schema": {"type": "object"}},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"choice": ["a"]}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ],
    ids=str,
)
def test_what_needs_a_grammar_of_its_own_excludes_them(field: dict[str, Any], other: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as raised:
        adapt_request(**field, **other)
    assert raised.value.param == next(iter(field))


@pytest.mark.parametrize("other", [{"stop": ["a"]}, {"stop_token_ids": [3]}], ids=str)
def test_nothing_else_may_end_an_answer_that_has_a_least_length(other: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter, match="min_tokens"):
        adapt_request(min_tokens=3, **other)
    with pytest.raises(UnsupportedParameter, match="without a chat template"):
        LlamaCpp().finalize("chat", adapt_request(min_tokens=3), Ready(url="", chat_stops=("\nUser:",)))


@pytest.mark.parametrize(
    "other",
    [
        {"grammar": 'root ::= "a"'},
        {"json_schema": {"type": "object"}},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"choice": ["a"]}},
        {"structured_outputs": {"regex": "a"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    ],
    ids=str,
)
def test_an_answer_without_an_end_follows_no_grammar(other: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as raised:
        adapt_request(ignore_eos=True, **other)
    assert raised.value.param == "ignore_eos"
    assert adapt_request(ignore_eos=False, **other)


@pytest.mark.parametrize(
    "other",
    [{}, {"min_tokens": 3}, {"stop_token_ids": [3]}, {"tools": [{"type": "function", "function": {"name": "f"}}]}],
    ids=str,
)
def test_an_answer_that_may_be_anything_needs_no_end(other: dict[str, Any]) -> None:
    assert adapt_request(ignore_eos=True, **other)["ignore_eos"] is True


class EngineClient:
    """A worker with a vocabulary of 1024 tokens."""

    texts: Mapping[int, str] = {7: "", 8: "text", 9: "\ufffd"}

    async def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        if body is None:
            assert path == "/v1/models"
            return {"data": [{"meta": {"n_vocab": VOCABULARY}}]}
        assert path == "/detokenize"
        return {"content": "".join(self.texts[token] for token in body["tokens"])}


async def test_the_mark_after_a_token_ends_the_answer_and_the_text_of_the_token_goes_with_it() -> None:
    asked = {"stop": "own", "stop_token_ids": [9, 8, 7, 8]}
    body = await LlamaCppPreparation().prepared(EngineClient(), asked, READY)
    assert body == {"stop": ["own", MARK, f"text{MARK}"], "grammar": stop_grammar([7, 8, 9], VOCABULARY)}
    assert asked["stop_token_ids"] == [9, 8, 7, 8]


async def test_a_token_that_is_none_and_a_build_that_cannot_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="1024 is no token"):
        await LlamaCppPreparation().prepared(EngineClient(), {"stop_token_ids": [1024]}, READY)
    with pytest.raises(UnsupportedParameter, match="llguidance"):
        await LlamaCppPreparation().prepared(EngineClient(), {"stop_token_ids": [7]}, Ready(url=""))
    assert "stop_token_ids" not in Remote({"dialect": "llamacpp"}).fields("chat")
    assert "min_tokens" in Remote({"dialect": "llamacpp"}).fields("chat")


def _allowed(matcher: LLMatcher) -> set[int]:
    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
    return set(np.flatnonzero(bits[:VOCABULARY]).tolist())


@given(st.sets(st.integers(3, VOCABULARY - 1), min_size=1, max_size=5))
def test_all_tokens_may_come_and_after_those_that_end_it_only_the_mark(ids: set[int]) -> None:
    grammar = stop_grammar(sorted(ids), VOCABULARY).partition("\n")[2].replace("\\u0001", "#")
    tokenizer = nano_tokenizer()
    matcher = LLMatcher(
        LLTokenizer(tokenizer.backend_tokenizer.to_str(), n_vocab=VOCABULARY, eos_token=[2]),
        LLMatcher.grammar_from_lark(grammar),
        log_level=0,
    )
    assert not matcher.is_error()
    assert _allowed(matcher) == set(range(VOCABULARY))
    other = next(token for token in range(3, VOCABULARY) if token not in ids)
    assert matcher.consume_token(other)
    assert _allowed(matcher) == set(range(VOCABULARY))
    assert matcher.consume_token(min(ids))
    (mark,) = _allowed(matcher)
    assert tokenizer.backend_tokenizer.decode([mark]) == "#"
