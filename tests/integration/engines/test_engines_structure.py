"""Every engine does the same with the same request: tool calls and JSON."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.integration.engines.served import TOOLS, WEATHER, Asking, Served

UNRELATED = "Tell me a joke."
DETAILS = "modelhost.finish_details"
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "is_sunny": {"type": "boolean"},
        "wind": {"enum": ["north", "south"]},
    },
    "required": ["city", "is_sunny", "wind"],
    "additionalProperties": False,
}


def _call(message: dict[str, Any]) -> tuple[str, Any]:
    (call,) = message["tool_calls"]
    assert call["id"]
    assert call["type"] == "function"
    return call["function"]["name"], json.loads(call["function"]["arguments"])


def _check_arguments(name: str, arguments: Any) -> None:
    (schema,) = [tool["function"]["parameters"] for tool in TOOLS if tool["function"]["name"] == name]
    jsonschema.validate(arguments, schema)


def test_a_tool_is_called_with_arguments(asking: Asking) -> None:
    choice = asking.chat(WEATHER, tools=TOOLS)["choices"][0]
    assert _call(choice["message"]) == ("get_weather", {"city": "Paris"})
    assert choice["finish_reason"] == "tool_calls"


def test_a_streamed_call_has_its_name_first_and_then_its_arguments(asking: Asking) -> None:
    choices = [chunk["choices"][0] for chunk in asking.chunks(WEATHER, tools=TOOLS)]
    pieces = [piece for choice in choices for piece in choice["delta"].get("tool_calls") or ()]
    assert pieces[0]["function"]["name"] == "get_weather"
    assert {piece["index"] for piece in pieces} == {0}
    assert not [piece for piece in pieces[1:] if piece["function"].get("name")]
    assert len(pieces) > 3
    assert json.loads("".join(piece["function"].get("arguments") or "" for piece in pieces)) == {"city": "Paris"}
    assert not "".join(choice["delta"].get("content") or "" for choice in choices).strip()
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_the_result_of_a_tool_is_told(asking: Asking) -> None:
    call = asking.chat(WEATHER, tools=TOOLS)["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "sunny, 21 degrees"}
    text = asking.text([{"role": "user", "content": WEATHER}, call, result], tools=TOOLS)
    assert "sunny" in text
    assert "tool_call" not in text


@pytest.mark.parametrize("name", ["get_weather", "add"])
@pytest.mark.parametrize("temperature", [0, 2])
def test_a_named_tool_is_called_whatever_is_asked(
    asking: Asking, served: Served, name: str, temperature: float
) -> None:
    choice = {"type": "function", "function": {"name": name}}
    drawn = {"temperature": temperature, **served.seed(1)}
    answer = asking.chat(UNRELATED, tools=TOOLS, tool_choice=choice, **drawn)["choices"][0]
    called, arguments = _call(answer["message"])
    assert called == name
    _check_arguments(name, arguments)
    assert answer["finish_reason"] == "tool_calls"
    assert not answer["message"]["content"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_required_call_is_made_whatever_is_asked(asking: Asking, served: Served, seed: int) -> None:
    drawn = {"temperature": 2, **served.seed(seed)}
    answer = asking.chat(UNRELATED, tools=TOOLS, tool_choice="required", **drawn)["choices"][0]
    name, arguments = _call(answer["message"])
    _check_arguments(name, arguments)


def test_a_required_call_streams(asking: Asking) -> None:
    chunks = asking.chunks(UNRELATED, tools=TOOLS[:1], tool_choice="required")
    pieces = [piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls") or ()]
    assert pieces[0]["function"]["name"] == "get_weather"
    _check_arguments("get_weather", json.loads("".join(each["function"].get("arguments") or "" for each in pieces)))


def test_a_tool_without_parameters_can_be_required(asking: Asking) -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    answer = asking.chat(UNRELATED, tools=tools, tool_choice="required")["choices"][0]
    assert _call(answer["message"]) == ("now", {})


@pytest.mark.parametrize("temperature", [0, 2])
def test_json_follows_its_schema(asking: Asking, served: Served, temperature: float) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}
    answer = asking.chat(UNRELATED, response_format=shape, temperature=temperature, **served.seed(1))["choices"][0]
    jsonschema.validate(json.loads(answer["message"]["content"]), SCHEMA)
    assert answer["finish_reason"] == "stop"


def test_any_json_object_can_be_wanted(asking: Asking, served: Served) -> None:
    shape = {"type": "json_object"}
    text = asking.text(UNRELATED, response_format=shape, temperature=1, **served.seed(1), max_tokens=100)
    assert text.lstrip().startswith("{")


def test_a_schema_that_is_none_is_refused(asking: Asking) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "strange"}}}
    assert asking.refusal(response_format=shape)["code"] == "invalid_request"


NESTED = {
    "type": "object",
    "properties": {"color": {"$ref": "#/$defs/Color"}, "tree": {"$ref": "#/$defs/Node"}},
    "required": ["color", "tree"],
    "additionalProperties": False,
    "$defs": {
        "Color": {"enum": ["red", "blue"]},
        "Node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer", "minimum": 1, "maximum": 9},
                "next": {"anyOf": [{"$ref": "#/$defs/Leaf"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        },
        "Leaf": {"type": "object", "properties": {"value": {"enum": [0, 1]}}, "required": ["value"]},
    },
}


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "paint"}}], ids=str)
def test_a_tool_whose_schema_refers_to_parts_of_itself_is_called(
    asking: Asking, choice: Any, *, is_streamed: bool
) -> None:
    tools = [{"type": "function", "function": {"name": "paint", "parameters": NESTED}}]
    asked = {"tools": tools, "tool_choice": choice, "max_tokens": 200}
    if is_streamed:
        deltas = [chunk["choices"][0]["delta"] for chunk in asking.chunks(UNRELATED, **asked)]
        pieces = [piece for delta in deltas for piece in delta.get("tool_calls") or ()]
        arguments = json.loads("".join(piece["function"].get("arguments") or "" for piece in pieces))
    else:
        name, arguments = _call(asking.chat(UNRELATED, **asked)["choices"][0]["message"])
        assert name == "paint"
    jsonschema.validate(arguments, NESTED)


def _only(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"v": value}, "required": ["v"], "additionalProperties": False}


@pytest.mark.parametrize(
    "value",
    [
        {"type": "string", "pattern": r"^\d{3}-\d{2}$"},
        {"type": "string", "pattern": r"\d\d", "maxLength": 6},
        {"type": "number", "minimum": 3, "maximum": 4},
        {"type": "string", "format": "date"},
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2, "uniqueItems": True},
        {"type": "string", "pattern": "^(?!a)[a-c]{2}$"},
    ],
    ids=str,
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_answer_follows_its_schema_or_says_that_it_does_not(
    asking: Asking, served: Served, value: dict[str, Any], *, is_streamed: bool
) -> None:
    schema = _only(value)
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    asked = {"response_format": shape, "temperature": 0.7, "max_tokens": 100, **served.seed(3)}
    if is_streamed:
        chunks = asking.chunks(UNRELATED, **asked)
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
        details = next((chunk[DETAILS] for chunk in chunks if DETAILS in chunk), None)
        reason = next(filter(None, (chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"])))
    else:
        answer = asking.chat(UNRELATED, **asked)
        text, details = answer["choices"][0]["message"]["content"], answer.get(DETAILS)
        reason = answer["choices"][0]["finish_reason"]
    if reason == "length":
        return
    try:
        jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())
        is_right = True
    except (jsonschema.ValidationError, json.JSONDecodeError):
        is_right = False
    assert is_right is (details is None)
    if served.engine == "llamacpp" and not served.label and not {"uniqueItems", "pattern"} & value.keys():
        assert is_right
    assert details is None or details["type"] == "schema_violated"
