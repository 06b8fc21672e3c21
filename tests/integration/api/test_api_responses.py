"""The Responses API with both engines, as its own client uses it, and in plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel

from tests.integration.api.talk import Talk, error_of
from tests.support.media_files import png_url
from tests.support.serving import ServedHost

Json = dict[str, Any]
RESPONSES, COUNT = "/v1/responses", "/v1/responses/input_tokens"
NOTES = "x-modelhost-notes"
CITY: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Json = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "strict": True,
    "parameters": {**CITY, "additionalProperties": False},
}
USED: list[Json] = [
    {"role": "user", "content": "How is the weather in Paris?"},
    {"type": "function_call", "call_id": "a", "name": "get_weather", "arguments": '{"city": "Paris"}'},
    {"type": "function_call_output", "call_id": "a", "output": "sunny"},
]


class City(BaseModel):
    """A place."""

    city: str


def create(talk: Talk, given: Any = "Hello!", **fields: Any) -> Response:
    fields = {"max_output_tokens": 60, "temperature": 0, "store": False, **fields}
    found = talk.host.client().responses.create(model=talk.model, input=given, **fields)
    assert isinstance(found, Response)
    return found


def post(host: ServedHost, given: Any = "Hello!", path: str = RESPONSES, **fields: Any) -> httpx2.Response:
    return host.http.post(path, json={"input": given, **fields})


def events_of(host: ServedHost, given: Any, **fields: Any) -> list[Json]:
    body = {"input": given, "stream": True, "store": False, **fields}
    with host.http.stream("POST", RESPONSES, json=body) as answer:
        assert answer.status_code == 200
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


# Answers.


def test_the_openai_client_gets_a_response(any_talk: Talk) -> None:
    found = create(any_talk)
    assert (found.object, found.status) == ("response", "completed")
    assert found.output_text
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens


def test_a_stream_has_the_same_text(any_talk: Talk) -> None:
    whole = create(any_talk)
    client = any_talk.host.client()
    asked: Json = {"model": any_talk.model, "max_output_tokens": 60, "temperature": 0, "store": False}
    with client.responses.stream(input="Hello!", **asked) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        last = stream.get_final_response()
    assert "".join(deltas) == last.output_text == whole.output_text


def test_the_openai_client_parses_an_answer(any_talk: Talk) -> None:
    client = any_talk.host.client()
    asked: Json = {"model": any_talk.model, "max_output_tokens": 60, "temperature": 0, "store": False}
    found = client.responses.parse(input='/echo {"city": "Rome"}', text_format=City, **asked)
    assert isinstance(found.output_parsed, City)


@pytest.mark.parametrize("given", ["", []], ids=["text", "list"])
def test_an_empty_input_prepares_a_prompt(any_talk: Talk, given: Any) -> None:
    assert create(any_talk, given, instructions="Be brief.", max_output_tokens=1).object == "response"


def test_an_answer_that_is_cut_is_incomplete(any_talk: Talk) -> None:
    found = create(any_talk, "/echo one two three", max_output_tokens=2)
    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"
    assert found.output[-1].status == "incomplete"  # type: ignore[union-attr]


def test_log_probabilities_come_with_the_text(nano: Talk) -> None:
    found = create(nano, include=["message.output_text.logprobs"], top_logprobs=2)
    (message,) = found.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert "".join(each.token for each in part.logprobs or ()) == part.text
    assert {len(each.top_logprobs) for each in part.logprobs or ()} == {2}


# Tools.


def test_a_call_goes_to_the_client_and_its_result_to_the_model(any_talk: Talk) -> None:
    given: list[Any] = [{"role": "user", "content": '/call get_weather {"city": "Paris"}'}]
    found = create(any_talk, given, tools=[WEATHER], tool_choice="required")
    (call,) = found.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert isinstance(json.loads(call.arguments)["city"], str)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    asked = [{"role": "user", "content": "How is the weather in Paris?"}, call.model_dump(), result]
    assert create(any_talk, asked, tools=[WEATHER]).output_text


def test_a_custom_tool_gets_a_text(any_talk: Talk) -> None:
    grammar = {"type": "grammar", "syntax": "regex", "definition": "[a-z ]{1,20}"}
    tool = {"type": "custom", "name": "run", "format": grammar}
    call = '/call run {"input": "list all"}'
    (found,) = create(any_talk, call, tools=[tool], tool_choice={"type": "custom", "name": "run"}).output
    assert found.type == "custom_tool_call"
    assert found.input
    asked = [
        {"role": "user", "content": "Hi"},
        found.model_dump(),
        {"type": "custom_tool_call_output", "call_id": found.call_id, "output": "a b"},
    ]
    assert create(any_talk, asked, tools=[tool]).output_text


def test_tools_that_nobody_can_run_are_listed_in_the_metadata(scripted_host: ServedHost) -> None:
    tools = [{"type": "web_search"}, {"type": "namespace", "name": "a", "tools": []}, {"type": "image_generation"}]
    answer = post(scripted_host, tools=tools, tool_choice="auto", metadata={"a": "b"})
    assert answer.status_code == 200
    hidden = "web_search,namespace,image_generation"
    assert answer.json()["metadata"] == {"a": "b", "modelhost.hidden_tools": hidden}
    assert "ignored=namespace" in answer.headers[NOTES]


# Counting.


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ("Hello!", {}),
        ("Hello!", {"instructions": "Be brief."}),
        (USED, {"tools": [WEATHER]}),
    ],
    ids=["plain", "instructions", "tools"],
)
def test_a_count_is_the_usage_of_the_response(nano_host: ServedHost, given: Any, fields: Json) -> None:
    used = post(nano_host, given, max_output_tokens=1, store=False, **fields).json()["usage"]
    counted = post(nano_host, given, COUNT, **fields)
    assert counted.json() == {"object": "response.input_tokens", "input_tokens": used["input_tokens"]}


def test_a_count_of_an_image_is_an_estimate_if_the_engine_counts_none(scripted_host: ServedHost) -> None:
    content = [{"type": "input_image", "image_url": png_url()}]
    assert post(scripted_host, "Hi", store=False).status_code == httpx2.codes.OK  # so that it is loaded
    counted = post(scripted_host, [{"role": "user", "content": content}], COUNT)
    assert counted.json()["estimated"] is True
    assert counted.headers[NOTES] == "estimated"


# Refusals and failures.


def test_an_image_for_a_model_that_does_not_see_is_refused_by_the_name_of_the_input(nano_host: ServedHost) -> None:
    content = [{"type": "input_image", "image_url": png_url()}]
    for answer in (
        post(nano_host, [{"role": "user", "content": content}], store=False),
        post(nano_host, [{"role": "user", "content": content}], COUNT),
    ):
        error = error_of(answer)
        assert (error["code"], error["param"]) == ("unsupported_operation", "input[0].content[0].image_url")


def test_a_conversation_that_is_too_long_is_refused_or_truncated(scripted_host: ServedHost) -> None:
    turn = [{"role": "user", "content": "word " * 1500}, {"role": "assistant", "content": "yes"}]
    given = [*turn * 3, {"role": "user", "content": "/echo done"}]
    refused = post(scripted_host, given, store=False)
    error = error_of(refused)
    assert (refused.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "input")
    for stream in (False, True):
        answer = post(scripted_host, given, store=False, truncation="auto", stream=stream)
        assert answer.status_code == 200
        assert "oldest messages" in answer.headers[NOTES]
        assert "done" in answer.text
    alone = post(scripted_host, "word " * 5000, store=False, truncation="auto")
    assert error_of(alone)["code"] == "context_length_exceeded"


def test_a_crash_is_the_last_event_of_a_stream_and_the_status_of_a_whole_answer(scripted_host: ServedHost) -> None:
    said = "/batch 1 /crash 2 /echo one two three"
    found = events_of(scripted_host, said)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert (found[0]["type"], found[-1]["type"]) == ("response.created", "response.failed")
    response = found[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "worker_crashed")
    assert response["output"][0]["content"][0]["text"] == "one two"
    whole = post(scripted_host, said, store=False)
    assert (whole.status_code, error_of(whole)["code"]) == (502, "worker_crashed")


def test_a_host_that_stops_ends_a_stream_with_an_error_event(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", alias=["scripted"], shutdown_timeout=0.2)
    body = {"input": "/batch 1 /hang 2 /echo one two three", "stream": True, "store": False}
    found: list[Json] = []
    with host.http.stream("POST", RESPONSES, json=body) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            found.append(json.loads(line.removeprefix("data: ")))
            if found[-1].get("delta") == " two":
                host.process.terminate()
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    last = found[-1]
    assert (last["type"], last["code"], last["error"]["code"]) == ("error", "shutting_down", "shutting_down")


def test_an_unknown_model_is_not_found(scripted: Talk) -> None:
    with pytest.raises(openai.NotFoundError):
        scripted.host.client().responses.create(model="nobody", input="Hi")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 5}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_nowhere"}]}, "input[0].id"),
        ({"input": [{"role": "user", "content": "Hi", "id": {"a": 1}}]}, "input[0].id"),
        ({"input": [{"type": "web_search_call", "id": 5}]}, "input[0].id"),
        ({"conversation": "conv_nowhere", "previous_response_id": "resp_nowhere"}, "conversation"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"tools": [{"type": "mcp", "server_label": "nobody"}]}, "tools[0].server_label"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"tool_choice": {"type": "function", "name": "nothing"}}, "tool_choice"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_by_its_path(any_host: ServedHost, fields: Json, param: str) -> None:
    refused = any_host.http.post(RESPONSES, json={"input": "Hi", "store": False, **fields})
    assert error_of(refused)["param"] == param
    assert refused.status_code in {400, 404}


def test_unknown_fields_are_ignored_and_noted(scripted_host: ServedHost) -> None:
    answer = post(scripted_host, frobnicate=True, store=False)
    assert (answer.status_code, answer.headers[NOTES]) == (200, "ignored=frobnicate")
