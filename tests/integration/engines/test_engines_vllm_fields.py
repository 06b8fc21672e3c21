"""Fields of vLLM's that other clients send too: every engine does the same with them, or refuses them by name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.integration.engines.served import CONTEXT, TOOLS, WEATHER, WHO, Asking, Served

ANSWER = "I am modelhost-nano, a tiny demonstration model."
COMPLETIONS = "/v1/completions"
LETTERS = r"^(ab|cd)/[xy]{2}$"


def _completed(asking: Asking, **parameters: Any) -> str:
    answer = asking.post(COMPLETIONS, {"prompt": WHO, "temperature": 0, "max_tokens": 30, **parameters})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


def _ids(asking: Asking, text: str) -> list[int]:
    tokens: list[int] = asking.post("/tokenize", {"content": text}).json()["tokens"]
    return tokens


@pytest.mark.parametrize(
    "fields", [{"guided_regex": LETTERS}, {"structured_outputs": {"regex": LETTERS}}], ids=["guided", "structured"]
)
def test_an_answer_is_a_whole_match_of_a_regular_expression(
    asking: Asking, served: Served, fields: dict[str, Any]
) -> None:
    if served.label == "llama-server":
        assert "guided_regex" in asking.refusal(guided_regex="a")["message"]
        return
    for text in (asking.text(**fields), _completed(asking, **fields)):
        assert re.fullmatch(LETTERS, text)


@pytest.mark.parametrize(
    "fields",
    [{"guided_choice": ["left", 'the "right"\none']}, {"structured_outputs": {"choice": ["left", "right"]}}],
    ids=["guided", "structured"],
)
def test_an_answer_is_one_of_a_choice(asking: Asking, fields: dict[str, Any]) -> None:
    choices = fields.get("guided_choice") or fields["structured_outputs"]["choice"]
    assert asking.text(**fields) in choices
    assert _completed(asking, **fields) in choices


@pytest.mark.parametrize("name", ["guided_regex", "structured_outputs.regex"])
def test_an_expression_that_cannot_be_followed_is_refused_by_the_name_that_the_client_sent(
    asking: Asking, served: Served, name: str
) -> None:
    if served.engine == "vllm":
        pytest.skip("vLLM names no field")
    error = asking.refusal(**({name: "a(?=b)"} if name == "guided_regex" else {"structured_outputs": {"regex": "("}}))
    assert error["param"] == name
    assert error["message"].startswith(f"{name}: ")


def test_an_answer_has_so_many_tokens_at_least(asking: Asking, served: Served) -> None:
    if served.capabilities.provider_of("min_tokens") == "refused":
        assert "min_tokens" in asking.refusal(min_tokens=30)["message"]
        return
    natural = asking.chat()
    for least in (natural["usage"]["completion_tokens"] + 5, 150):
        longer = asking.chat(min_tokens=least)
        assert longer["usage"]["completion_tokens"] >= least
        assert longer["choices"][0]["message"]["content"].startswith(ANSWER)
    assert asking.text(min_tokens=0) == asking.text(min_tokens=3) == ANSWER
    assert asking.refusal(min_tokens=300)["param"] in {"min_tokens", None}  # than max_tokens


def test_an_answer_ends_at_a_token_and_not_at_its_text(asking: Asking, served: Served) -> None:
    if served.capabilities.provider_of("stop_token_ids") == "refused" or served.label == "llama-server":
        assert "stop_token_ids" in asking.refusal(stop_token_ids=[5])["message"]
        return
    ids = _ids(asking, ANSWER)
    for stops in ([ids[4]], [ids[6], ids[4]]):
        choice = asking.chat(stop_token_ids=stops)["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("I am ", "stop")
    chunks = asking.chunks(stop_token_ids=[ids[4]])
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "I am "
    # The model's text has an "a" before, within other tokens.
    (alone,) = _ids(asking, "a")
    assert asking.text(stop_token_ids=[alone]) == ANSWER[: ANSWER.index(" a ") + 1]
    assert asking.text(stop_token_ids=[]) == ANSWER
    assert asking.refusal(stop_token_ids=[10**6])["message"]


def test_each_chunk_tells_the_tokens_so_far(asking: Asking) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    *pieces, last = asking.chunks(stream_options=options)
    told = [chunk["usage"]["completion_tokens"] for chunk in pieces]
    assert told == sorted(told)
    assert (told[0], last["choices"]) == (0, [])
    assert 0 < told[len(told) // 2] < last["usage"]["completion_tokens"]
    assert last["usage"]["completion_tokens"] - 1 <= told[-1] <= last["usage"]["completion_tokens"]
    assert pieces[-1]["usage"]["prompt_tokens"] == last["usage"]["prompt_tokens"] == 17


def test_the_tokens_of_messages_are_those_that_a_chat_of_them_reads(asking: Asking, served: Served) -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": WEATHER}]
    for more in ({}, {"tools": TOOLS}, {"add_generation_prompt": False}):
        answer = asking.post("/tokenize", {"messages": said, "return_token_strs": True, **more}).json()
        used = asking.chat(said, max_tokens=1, **more)["usage"]["prompt_tokens"]
        assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"]) == used
        assert answer["max_model_len"] == CONTEXT
        assert all(isinstance(token, int) for token in answer["tokens"])
    begun = [*said, {"role": "assistant", "content": "It is"}]
    one = asking.post("/tokenize", {"messages": begun, "continue_final_message": True}).json()
    assert "token_strs" not in one
    more = asking.post("/tokenize", {"messages": begun, "add_generation_prompt": True}).json()
    # A llama-server goes on with a last message of the model whatever it is asked.
    assert one["count"] == more["count"] if served.label else one["count"] < more["count"]
