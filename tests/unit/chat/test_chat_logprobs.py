"""Log probabilities of as many tokens as are asked for."""

from __future__ import annotations

from typing import Any

from modelhost.chat.completions import LegacyLogprobsRewriter, without_alternatives
from modelhost.exchange.events import Logprobs, Text


def _token(text: str, *others: str) -> dict[str, Any]:
    top = [{"token": other, "logprob": -0.5 * place} for place, other in enumerate((text, *others))]
    return {"token": text, "logprob": 0.0, "top_logprobs": top}


def _logprobs(*tokens: dict[str, Any]) -> Logprobs:
    return Logprobs(logprobs={"content": list(tokens), "refusal": None})


def test_those_of_other_tokens_can_be_left_out() -> None:
    piece = (Text(text="ab"), _logprobs(_token("a", "x"), _token("b")))
    text, logprobs = without_alternatives(piece)
    assert text is piece[0]
    assert isinstance(logprobs, Logprobs)
    assert logprobs.logprobs["content"] == [
        {"token": "a", "logprob": 0.0, "top_logprobs": []},
        {"token": "b", "logprob": 0.0, "top_logprobs": []},
    ]
    assert logprobs.logprobs["refusal"] is None


def test_none_at_all_stay_none() -> None:
    piece = (Logprobs(logprobs={"content": None}),)
    assert without_alternatives(piece) == piece


def test_completions_have_lists_with_offsets() -> None:
    rewrite = LegacyLogprobsRewriter(2).rewrite
    rewrite((_logprobs(_token("ab", "x", "y")),))
    (found,) = rewrite((_logprobs(_token("c", "z")),))
    assert isinstance(found, Logprobs)
    assert found.logprobs == {
        "tokens": ["c"],
        "token_logprobs": [0.0],
        "top_logprobs": [{"c": 0.0, "z": -0.5}],
        "text_offset": [2],
    }


def test_more_than_were_asked_for_are_left_out() -> None:
    (found,) = LegacyLogprobsRewriter(1).rewrite((_logprobs(_token("a", "x", "y")),))
    assert isinstance(found, Logprobs)
    assert found.logprobs["top_logprobs"] == [{"a": 0.0}]


def test_of_no_other_token_the_one_that_stands_there_is_told() -> None:
    (found,) = LegacyLogprobsRewriter(0).rewrite((_logprobs(_token("a", "x")),))
    assert isinstance(found, Logprobs)
    assert found.logprobs["top_logprobs"] == [{"a": 0.0}]


def test_of_the_first_token_of_a_prompt_nothing_is_told() -> None:
    (found,) = LegacyLogprobsRewriter(1).rewrite((_logprobs({"token": "a", "logprob": None, "top_logprobs": []}),))
    assert isinstance(found, Logprobs)
    assert (found.logprobs["token_logprobs"], found.logprobs["top_logprobs"]) == ([None], [None])


def test_lists_that_an_engine_made_itself_stay() -> None:
    piece = (Logprobs(logprobs={"tokens": ["a"], "token_logprobs": [0.0], "top_logprobs": None, "text_offset": [0]}),)
    assert LegacyLogprobsRewriter(1).rewrite(piece) == piece
