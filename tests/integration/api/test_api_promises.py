"""What clients of OpenAI's and of vLLM's servers count on."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.integration.api.talk import CHAT, Talk, as_messages, error_of

TOOL = {
    "type": "function",
    "function": {
        "name": "paint",
        "parameters": {
            "type": "object",
            "properties": {"color": {"$ref": "#/$defs/Color"}},
            "required": ["color"],
            "additionalProperties": False,
            "$defs": {"Color": {"enum": ["red", "blue"]}},
        },
    },
}
PAINT = {"type": "function", "function": {"name": "paint"}}


def _events(talk: Talk, **fields: Any) -> list[dict[str, Any]]:
    text = talk.post_chat(stream=True, **fields).text
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def test_the_list_of_models_has_a_second_address(any_talk: Talk) -> None:
    listed = any_talk.host.http.get("/v1/models/")
    assert listed.status_code == 200
    assert listed.json()["object"] == "list"
    assert listed.json()["data"][0]["id"] == any_talk.host.http.get("/v1/models").json()["data"][0]["id"]


def test_ranking_has_a_second_address(scripted: Talk) -> None:
    asked = {"query": "red apple", "documents": ["a pear", "a red apple"]}
    first, second = (scripted.post(path, asked).json() for path in ("/v1/rerank", "/rerank"))
    assert first["results"] == second["results"]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_ids_of_completions_say_what_they_are(nano: Talk, *, is_streamed: bool) -> None:
    text = nano.post("/v1/completions", {"prompt": "a", "max_tokens": 2, "stream": is_streamed}).text
    assert '"id":"cmpl-' in text
    assert "chatcmpl-" not in text


def test_a_completion_has_sixteen_tokens_unless_told(nano: Talk) -> None:
    def tokens(**fields: Any) -> int:
        body = {"prompt": "Once", "ignore_eos": True, **fields}
        count: int = nano.post("/v1/completions", body).json()["usage"]["completion_tokens"]
        return count

    assert (tokens(), tokens(max_tokens=20)) == (16, 20)
    assert tokens(t_max_predict_ms=60_000, max_tokens=None) > 16


def test_dimensions_may_be_those_of_the_model(nano: Talk) -> None:
    size = len(nano.post("/v1/embeddings", {"input": "a"}).json()["data"][0]["embedding"])
    for encoding in ("float", "base64"):
        body = {"input": ["a", "b"], "dimensions": size, "encoding_format": encoding}
        assert nano.post("/v1/embeddings", body).status_code == 200


@pytest.mark.parametrize("fields", [{}, {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": PAINT}], ids=str)
@pytest.mark.parametrize(("asked", "others"), [({}, 0), ({"top_logprobs": 0}, 0), ({"top_logprobs": 2}, 2)], ids=str)
def test_log_probabilities_are_of_as_many_tokens_as_are_asked_for(
    nano: Talk, fields: dict[str, Any], asked: dict[str, Any], others: int
) -> None:
    whole = nano.post_chat(logprobs=True, temperature=0, **asked, **fields).json()["choices"][0]
    chunks = _events(nano, logprobs=True, temperature=0, **asked, **fields)
    streamed = [
        token
        for chunk in chunks
        for choice in chunk["choices"]
        for token in (choice.get("logprobs") or {}).get("content") or ()
    ]
    assert whole["logprobs"]["content"]
    assert [token["token"] for token in streamed] == [token["token"] for token in whole["logprobs"]["content"]]
    for token in (*whole["logprobs"]["content"], *streamed):
        assert len(token["top_logprobs"]) == others


def test_log_probabilities_of_completions_begin_at_zero(nano: Talk) -> None:
    body = {"prompt": "Once", "max_tokens": 3, "logprobs": 0, "temperature": 0}
    found = nano.post("/v1/completions", body).json()["choices"][0]["logprobs"]
    assert len(found["tokens"]) == 3
    assert [[*top] for top in found["top_logprobs"]] == [[token] for token in found["tokens"]]


@pytest.mark.parametrize("choice", ["required", PAINT, None], ids=str)
def test_a_call_of_a_tool_with_references_is_forced(nano: Talk, choice: Any) -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [PAINT]}}
    answer = nano.post_chat(tools=[TOOL], tool_choice=choice or allowed, max_tokens=60).json()["choices"][0]
    (call,) = answer["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["color"] in {"red", "blue"}
    assert answer["finish_reason"] == "tool_calls"


def test_a_forced_call_streams_with_one_entry_in_each_chunk(nano: Talk) -> None:
    chunks = _events(nano, tools=[TOOL], tool_choice="required", max_tokens=60)
    entries = [choice["delta"]["tool_calls"] for chunk in chunks for choice in chunk["choices"] if _has_call(choice)]
    assert entries
    assert {len(each) for each in entries} == {1}
    assert json.loads("".join(each[0]["function"].get("arguments", "") for each in entries))["color"]


def _has_call(choice: dict[str, Any]) -> bool:
    return bool(choice["delta"].get("tool_calls"))


def test_a_forced_call_that_is_cut_is_no_text(nano: Talk) -> None:
    answer = nano.post_chat(tools=[TOOL], tool_choice="required", max_tokens=2).json()["choices"][0]
    assert not answer["message"]["content"]
    assert answer["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"guided_choice": ["left", "right"]}, ["left", "right"]),
        ({"structured_outputs": {"choice": ['"quoted"']}}, ['"quoted"']),
        ({"guided_regex": "[ab]{2}"}, ["aa", "ab", "ba", "bb"]),
        ({"guided_grammar": 'root ::= "yes"'}, ["yes"]),
    ],
    ids=str,
)
def test_an_answer_has_the_form_that_vllms_names_ask_for(nano: Talk, fields: dict[str, Any], texts: list[str]) -> None:
    assert nano.post_chat(**fields).json()["choices"][0]["message"]["content"] in texts
    completed = nano.post("/v1/completions", {"prompt": "a", **fields}).json()
    assert completed["choices"][0]["text"] in texts


def test_json_has_the_schema_that_vllms_names_ask_for(nano: Talk) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    text = nano.post_chat(guided_json=schema, max_tokens=40).json()["choices"][0]["message"]["content"]
    jsonschema.validate(json.loads(text), schema)


def test_what_an_engine_cannot_be_held_to_is_refused(scripted: Talk) -> None:
    error = error_of(scripted.post_chat(guided_regex=["a"]))
    assert (error["code"], error["param"]) == ("invalid_request", "guided_regex")


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": {"pattern": "("}}}, "properties.a.pattern"),
        ({"properties": {"a": {"$ref": "#/nowhere"}}}, "properties.a.$ref"),
        ({"properties": {"a": {"$ref": "https://example.com/a.json"}}}, "properties.a.$ref"),
    ],
)
def test_a_schema_that_nobody_can_check_is_refused_with_its_path(
    any_talk: Talk, schema: dict[str, Any], path: str
) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    error = error_of(any_talk.post_chat(response_format=shape))
    assert (error["code"], error["param"]) == ("invalid_request", f"response_format.json_schema.schema.{path}")


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_answer_that_is_not_what_it_has_to_be_says_so(scripted: Talk, *, is_streamed: bool) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    asked = {"response_format": shape, "max_tokens": 50}
    if is_streamed:
        found = next(chunk for chunk in _events(scripted, **asked) if "modelhost.finish_details" in chunk)
    else:
        once, found = (scripted.post_chat(**asked, **more).json() for more in ({"temperature": 0}, {}))
        assert found["usage"]["total_tokens"] == 3 * once["usage"]["total_tokens"]
    assert found["modelhost.finish_details"]["type"] == "schema_violated"


def test_a_message_of_the_models_is_gone_on_with_or_not(nano: Talk) -> None:
    messages = [*as_messages("Say hello."), {"role": "assistant", "content": "Hel"}]

    def prompt_tokens(**fields: Any) -> int:
        count: int = nano.post(CHAT, {"messages": messages, "max_tokens": 2, **fields}).json()["usage"]["prompt_tokens"]
        return count

    goes_on = prompt_tokens()
    assert prompt_tokens(continue_final_message=True) == goes_on
    assert prompt_tokens(continue_final_message=False) == prompt_tokens(add_generation_prompt=True) > goes_on


@pytest.mark.parametrize("name", ["prediction", "metadata"])
def test_what_asks_for_no_other_answer_is_accepted(any_talk: Talk, name: str) -> None:
    fields: dict[str, Any] = {name: {"type": "content"}, "verbosity": "low", "service_tier": "auto", "store": False}
    assert any_talk.post_chat(**fields, user="u", safety_identifier="s", top_k=None, seed=None).status_code == 200
