"""The schemas of a request: rewritten where engines could not take them, refused with their place if they are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.schemas import with_plain_schemas
from modelhost.errors import InvalidRequest
from modelhost.exchange.bodies import body_of
from modelhost.exchange.requests import ChatRequest

MESSAGES = [{"role": "user", "content": "Hi"}]


def tool(name: str, **schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": schema}}


def answer_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}


def rewritten(body: dict[str, Any]) -> dict[str, Any]:
    request = parsed("chat", {"messages": MESSAGES, **body})
    assert isinstance(request, ChatRequest)
    found = body_of(with_plain_schemas(request))
    del found["messages"]
    return found


def refused(body: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        rewritten(body)
    return raised.value


def test_every_schema_of_a_request_is_rewritten_and_the_request_stays_as_it_was() -> None:
    body = {
        "tools": [{"type": "function", "function": {"name": "none"}}, tool("f", properties={"a": True})],
        "response_format": answer_of({"minLength": 5, "maxLength": 1}),
    }
    before = json.dumps(body)
    assert rewritten(body) == {
        "tools": [{"type": "function", "function": {"name": "none"}}, tool("f", properties={"a": {}})],
        "response_format": answer_of({}),
    }
    assert json.dumps(body) == before
    assert rewritten({"json_schema": {"allOf": [True]}}) == {"json_schema": {}}
    assert rewritten({"guided_json": {"type": "object", "allOf": [True]}})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
    }


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"$schema": 5, "type": "boolean"}, "$schema"),
        ({"enum": "abc"}, "enum"),
        ({"properties": {"a": {"required": 3}}}, "properties.a.required"),
        ({"minimum": "a"}, "minimum"),
        ({"items": {"pattern": 3}}, "items.pattern"),
        ({"multipleOf": 0}, "multipleOf"),
    ],
)
def test_a_keyword_that_nobody_can_check_is_named_with_its_place(schema: dict[str, Any], place: str) -> None:
    assert refused({"response_format": answer_of(schema)}).param == f"response_format.json_schema.schema.{place}"
    assert refused({"guided_json": schema}).param == f"guided_json.{place}"


def test_a_remark_of_another_kind_is_no_fault() -> None:
    rewritten({"response_format": answer_of({"type": "string", "examples": "a", "title": None})})


def test_numbers_of_more_than_64_bits_are_taken_from_programs() -> None:
    found = rewritten({"json_schema": {"maximum": 10**30}})
    assert found == {"json_schema": {}}


def test_a_tool_whose_schema_is_none_is_named_with_its_place() -> None:
    error = refused({"tools": [tool("good"), tool("bad", properties={"a": {"type": "str"}})]})
    assert error.param == "tools[1].function.parameters.properties.a.type"
    assert 'the tool "bad"' in error.message
    assert "#/properties/a/type: 'str' is none of" in error.message


def test_the_schema_of_an_answer_is_named_with_its_place() -> None:
    error = refused({"response_format": answer_of({"anyOf": []})})
    assert error.param == "response_format.json_schema.schema.anyOf"
    assert refused({"json_schema": {"$ref": "#/$defs/A"}}).param == "json_schema.$ref"
