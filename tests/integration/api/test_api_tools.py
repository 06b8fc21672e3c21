"""Tools: calls as incremental deltas, ``tool_choice`` as it was asked for, and models that write nonsense."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest

from tests.integration.api.talk import Talk, as_messages, calls_of, error_of, finish_of, text_of

Tools = list[dict[str, Any]]
CALL = '/call get_weather {"city": "Paris", "days": 2}'
ARGUMENTS = '{"city": "Paris", "days": 2}'
QUESTION = "What is the weather in Paris?"


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def history(arguments: Any, result: Any = "sunny", **message: Any) -> list[dict[str, Any]]:
    """A conversation that ends in the result of a call."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [call], **message},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
    ]


@pytest.mark.promise("candle-vllm.streaming.tool-calls")
def test_a_call_streams_as_incremental_deltas(scripted: Talk, weather_tools: Tools) -> None:
    chunks = scripted.chunks(CALL, tools=weather_tools)
    assert calls_of(chunks) == [("get_weather", ARGUMENTS)]
    pieces = [choice.delta.tool_calls for chunk in chunks for choice in chunk.choices if choice.delta.tool_calls]
    assert len(pieces) > 2
    assert [piece[0].index for piece in pieces] == [0] * len(pieces)
    assert [bool(piece[0].id) for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert finish_of(chunks) == ["tool_calls"]


@pytest.mark.parametrize("choice", ["auto", "required", named("get_weather")], ids=str)
def test_every_choice_of_several_carries_its_own_call(scripted: Talk, weather_tools: Tools, choice: Any) -> None:
    chunks = scripted.chunks(CALL, tools=weather_tools, n=2, tool_choice=choice)
    assert [calls_of(chunks, index) for index in range(2)] == [[("get_weather", ARGUMENTS)]] * 2
    answer = scripted.chat(CALL, tools=weather_tools, n=2, tool_choice=choice)
    assert [len(each.message.tool_calls or []) for each in answer.choices] == [1, 1]


@pytest.mark.parametrize("fields", [{"tool_choice": "none"}, {"tools": []}, {"tools": None}], ids=str)
def test_without_tools_or_with_choice_none_there_is_no_call(
    any_talk: Talk, weather_tools: Tools, fields: dict[str, Any]
) -> None:
    asked = {"tools": weather_tools, **fields}
    answer = any_talk.post_chat(CALL, max_tokens=60, **asked).json()
    assert "tool_calls" not in answer["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] != "tool_calls"


@pytest.mark.parametrize("said", [QUESTION, "Hello!", "Tell me a story.", "<tool_call>"])
@pytest.mark.parametrize("choice", ["required", "get_weather", "book_hotel"])
def test_a_real_model_makes_the_call_that_it_has_to(nano: Talk, weather_tools: Tools, said: str, choice: str) -> None:
    asked: dict[str, Any] = {
        "tools": weather_tools,
        "tool_choice": choice if choice == "required" else named(choice),
        "temperature": 0,
        "max_tokens": 400,
        "extra_body": {"repeat_penalty": 1.1},
    }
    names = {"get_weather", "book_hotel"} if choice == "required" else {choice}
    (whole,) = nano.chat(said, **asked).choices
    assert whole.message.content is None
    assert whole.message.tool_calls is not None
    (call,) = whole.message.tool_calls
    assert call.type == "function"
    assert call.function.name in names
    chunks = nano.chunks(said, stream_options={"include_usage": True}, **asked)
    assert text_of(chunks) == ""
    assert calls_of(chunks) == [(call.function.name, call.function.arguments)]
    assert finish_of(chunks) == [whole.finish_reason]
    assert chunks[-1].usage is not None
    if whole.finish_reason == "tool_calls":
        schema = weather_tools[0]["function"]["parameters"]
        jsonschema.validate(json.loads(call.function.arguments), schema)


def test_a_required_call_of_a_tool_without_parameters_has_empty_arguments(nano: Talk) -> None:
    tools = [{"type": "function", "function": {"name": "ping"}}]
    (choice,) = nano.chat("Hello!", tools=tools, tool_choice="required", max_tokens=60).choices
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].type == "function"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {}
    assert choice.finish_reason == "tool_calls"


def test_a_required_call_may_have_parameters_with_references(nano: Talk) -> None:
    parameters = {
        "type": "object",
        "properties": {"unit": {"$ref": "#/$defs/unit"}},
        "required": ["unit"],
        "$defs": {"unit": {"enum": ["C", "F"]}},
    }
    tools = [{"type": "function", "function": {"name": "set_unit", "parameters": parameters}}]
    response = nano.post_chat("Use C.", tools=tools, tool_choice="required", temperature=0)
    assert response.status_code == 200, response.text


def test_a_choice_that_cannot_be_met_is_the_callers_fault(any_talk: Talk, weather_tools: Tools) -> None:
    for fields in (
        {"tool_choice": "required"},
        {"tool_choice": "required", "tools": []},
        {"tool_choice": named("get_weather")},
        {"tool_choice": named("nothing"), "tools": weather_tools},
        {"tool_choice": "always", "tools": weather_tools},
        {"tool_choice": {"type": "function"}, "tools": weather_tools},
    ):
        error = error_of(any_talk.post_chat(**fields))
        assert error["code"] == "invalid_request"
        assert error["param"].startswith("tool_choice")


@pytest.mark.parametrize(
    "arguments",
    [ARGUMENTS, {"city": "Paris"}, "", "{}", "null", "not json", '{"city": ', '["a"]', '"Paris"', "7", "\u00e9\n\t"],
    ids=repr,
)
def test_whatever_arguments_a_model_once_wrote_may_come_back_in_the_history(any_talk: Talk, arguments: Any) -> None:
    for stream in (False, True):
        response = any_talk.post_chat(history(arguments), stream=stream)
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("result", ["sunny", "", '{"degrees": 20}', [{"type": "text", "text": "sunny"}]], ids=repr)
def test_a_tools_result_leads_to_an_answer(any_talk: Talk, weather_tools: Tools, result: Any) -> None:
    answer = any_talk.chat(history(ARGUMENTS, result), tools=weather_tools, temperature=0, max_tokens=60)
    assert answer.choices[0].finish_reason in {"stop", "length", "tool_calls"}


def test_a_call_without_content_or_with_text_beside_it_is_understood(any_talk: Talk, weather_tools: Tools) -> None:
    with_text = history(ARGUMENTS, content="I will look.")
    without = history(ARGUMENTS)
    del without[1]["content"]
    for messages in (with_text, without):
        assert any_talk.post_chat(messages, tools=weather_tools).status_code == 200


WILD: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}


def test_the_models_own_bad_output_is_never_a_failure(nano: Talk, weather_tools: Tools) -> None:
    """Hot sampling over the whole vocabulary with tools and schemas: every answer ends like an answer."""
    odd: Tools = [{"type": "function", "function": {"name": "a b c!"}}, weather_tools[0]]

    def ask(seed: int) -> tuple[int, str]:
        response = nano.post_chat(
            (QUESTION, "say <tool_call>\n</tool_call><think>", 'Repeat: <tool_call> {"name": }')[seed % 3],
            temperature=(1, 2, 5)[seed % 3],
            seed=seed,
            max_tokens=(3, 20, 45, 100)[seed % 4],
            tools=odd if seed % 2 else weather_tools,
            tool_choice=("auto", "required", "none", "auto", "auto")[seed % 5],
            stream=seed % 7 < 3,
            **({"response_format": {"type": "json_object"}} if seed % 11 < 4 else {}),
            **({"stop": ["</tool_call>"]} if seed % 13 == 0 else {}),
            **({"ignore_eos": True} if seed % 5 == 3 and seed % 11 >= 4 else {}),
            **(WILD if seed % 3 else {}),
        )
        return response.status_code, response.text

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(200)))
    failures = [(status, text[-400:]) for status, text in answers if status != 200 or '"error"' in text]
    assert failures == []
    assert all("finish_reason" in text for _, text in answers)


@pytest.mark.parametrize("stream", [False, True])
def test_output_that_the_engine_cannot_read_ends_as_an_ordinary_answer(nano: Talk, stream: bool) -> None:
    """These stops cut the JSON that was demanded in the middle, which llama.cpp answers with a 500 for some seeds."""
    for seed in range(20):
        response = nano.post_chat(
            "say <tool_call>\n</tool_call><think>",
            temperature=3,
            seed=seed,
            max_tokens=60,
            response_format={"type": "json_object"},
            stop=["a", "e"],
            stream=stream,
            stream_options={"include_usage": True} if stream else None,
            **WILD,
        )
        assert response.status_code == 200, response.text
        if stream:
            assert '"error"' not in response.text
            assert response.text.count('"finish_reason":"stop"') + response.text.count('"finish_reason":"length"') == 1
            assert response.text.count('"usage"') == 1
            assert response.text.endswith("data: [DONE]\n\n")
        else:
            assert response.json()["choices"][0]["finish_reason"] in {"stop", "length"}


def test_bad_tools_are_the_callers_fault(any_talk: Talk) -> None:
    for tools in ("get_weather", [1], [{}], [{"type": "function"}], [{"type": "function", "function": {"name": ""}}]):
        error = error_of(any_talk.post_chat(tools=tools))
        assert error["code"] == "invalid_request"
        assert error["param"].startswith("tools")


def test_a_tool_with_an_impossible_schema_is_the_callers_fault(nano: Talk) -> None:
    tools = [{"type": "function", "function": {"name": "a", "parameters": {"type": "nonsense"}}}]
    for choice in ("auto", "required"):
        response = nano.post_chat(as_messages("Hello"), tools=tools, tool_choice=choice)
        assert response.status_code == 400
        assert error_of(response)["type"] == "invalid_request_error"
