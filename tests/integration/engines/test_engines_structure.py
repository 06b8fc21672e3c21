"""Every engine does the same with the same request: tool calls and JSON."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.integration.engines.served import TOOLS, WEATHER, Asking, Served

UNRELATED = "Tell me a joke."
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
