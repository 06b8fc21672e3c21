"""Filling in text before other text, with llama.cpp and models that have the tokens for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gguf_files import FIM, write_model
from tests.support.serving import ServedHost

PREFIX, SUFFIX = "def f(", "    return 1"
COMPLETIONS, INFILL = "/v1/completions", "/infill"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with a model of random weights, whose vocabulary has the tokens for a gap but none for files."""
    path = write_model(tmp_path_factory.mktemp("models") / "fim.gguf", more_control=FIM[:3])
    with ServedHost(model=str(path), slots=2) as served:
        yield served


def _post(host: ServedHost, path: str, **body: Any) -> dict[str, Any]:
    answer = host.http.post(path, json={"temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def _tokens(host: ServedHost, text: str) -> list[int]:
    tokens: list[int] = host.http.post("/tokenize", json={"content": text, "parse_special": True}).json()["tokens"]
    return tokens


def _by_hand(host: ServedHost, prefix: str, suffix: str, **body: Any) -> dict[str, Any]:
    """Return what the model writes behind a prompt that is put together here."""
    before, after, middle = FIM[:3]
    return _post(host, COMPLETIONS, prompt=_tokens(host, f"{before}{prefix}{after}{suffix}{middle}"), **body)


def test_a_suffix_stands_where_the_model_was_trained_to_find_it(host: ServedHost) -> None:
    asked = {"max_tokens": 12, "logprobs": 1}
    answer, expected = (
        _post(host, COMPLETIONS, prompt=PREFIX, suffix=SUFFIX, **asked),
        _by_hand(host, PREFIX, SUFFIX, **asked),
    )
    assert answer["choices"][0]["text"] == expected["choices"][0]["text"]
    assert answer["choices"][0]["finish_reason"] == expected["choices"][0]["finish_reason"]
    scores = [each["choices"][0]["logprobs"]["token_logprobs"] for each in (answer, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert answer["usage"][count] == expected["usage"][count]
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["model"] == "fim"


def test_it_streams_and_has_several_choices(host: ServedHost) -> None:
    body = {"prompt": [PREFIX, "x = "], "suffix": SUFFIX, "max_tokens": 6, "n": 2, "temperature": 0}
    whole = _post(host, COMPLETIONS, **body)
    streamed = host.http.post(COMPLETIONS, json={**body, "stream": True, "stream_options": {"include_usage": True}})
    *lines, end = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert end == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    texts = dict.fromkeys(range(4), "")
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        texts[choice["index"]] += choice["text"]
    assert [*texts.values()] == [choice["text"] for choice in whole["choices"]]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")] == [
        whole["usage"]["completion_tokens"]
    ]


def test_an_empty_suffix_is_none(host: ServedHost) -> None:
    asked = {"prompt": PREFIX, "max_tokens": 4}
    with_it, without = _post(host, COMPLETIONS, suffix="", **asked), _post(host, COMPLETIONS, **asked)
    assert with_it["choices"][0]["text"] == without["choices"][0]["text"]


def test_clients_of_llama_cpp_get_its_own_answer(host: ServedHost) -> None:
    # As llama.vim asks.
    body = {
        "id_slot": -1,
        "input_prefix": PREFIX,
        "input_suffix": SUFFIX,
        "input_extra": [{"text": "x = 1", "filename": "x.py"}],
        "prompt": "a",
        "n_predict": 6,
        "stop": [],
        "n_indent": 0,
        "top_k": 40,
        "top_p": 0.99,
        "samplers": ["top_k", "top_p", "infill"],
        "stream": False,
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 5000,
    }
    whole = _post(host, INFILL, **body)
    assert whole.keys() >= {"content", "stop", "stop_type", "tokens_predicted", "tokens_evaluated", "timings", "model"}
    assert whole["tokens_predicted"] <= 6
    wanted = ["content", "timings/prompt_n", "tokens_predicted", "nothing/of/the/kind"]
    some = _post(host, INFILL, **body, response_fields=wanted)
    assert some.keys() == {"content", "timings/prompt_n", "tokens_predicted"}
    assert some["timings/prompt_n"] >= 1


def test_what_the_gap_begins_with_stands_before_it(host: ServedHost) -> None:
    asked: dict[str, Any] = {"input_suffix": SUFFIX, "n_predict": 8}
    begun = _post(host, INFILL, input_prefix=PREFIX, prompt="self", **asked)
    assert begun["content"] == _post(host, INFILL, input_prefix=f"{PREFIX}self", **asked)["content"]
    assert begun["stop_type"] == "limit"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (COMPLETIONS, {"prompt": [1, 2], "suffix": "a"}, "prompt"),
        (COMPLETIONS, {"prompt": "a", "suffix": "a", "echo": True}, "echo"),
        (COMPLETIONS, {"prompt": "a", "suffix": 5}, "suffix"),
        (INFILL, {"input_prefix": "a"}, "input_suffix"),
        (INFILL, {"input_prefix": "a", "input_suffix": "b", "stream": True}, "stream"),
        (INFILL, {"input_prefix": "a", "input_suffix": "b", "n": 2}, "n"),
        (INFILL, {"input_prefix": "a", "input_suffix": "b", "n_predict": 2, "max_tokens": 3}, "n_predict"),
        (INFILL, {"input_prefix": "a", "input_suffix": "b", "input_extra": "x"}, "input_extra"),
        (INFILL, {"input_prefix": "a", "input_suffix": "b", "input_sufix": "b"}, "input_sufix"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused(host: ServedHost, path: str, body: dict[str, Any], param: str) -> None:
    answer = host.http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_model_without_the_tokens_says_so(nano_host: ServedHost) -> None:
    for path, body in (
        (COMPLETIONS, {"prompt": "a", "suffix": "b"}),
        (COMPLETIONS, {"prompt": "a", "suffix": "b", "stream": True}),
        (INFILL, {"input_prefix": "a", "input_suffix": "b"}),
    ):
        answer = nano_host.http.post(path, json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", "suffix")
        assert "vocabulary" in error["message"]
