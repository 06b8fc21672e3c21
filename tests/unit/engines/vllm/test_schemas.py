"""What vLLM would refuse a schema for is passed over, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.engines.vllm.dialect import enforceable
from modelhost.engines.vllm.engine import Vllm


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string", "pattern": r"\d\d", "maxLength": 6}, {"type": "string", "pattern": r"\d\d"}),
        ({"type": "string", "format": "date", "minLength": 1}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "idn-email", "minLength": 1}, {"type": "string", "minLength": 1}),
        ({"type": "string", "pattern": r"\bcat\b", "maxLength": 6}, {"type": "string", "maxLength": 6}),
        ({"type": "string", "pattern": r"(a)\1"}, {"type": "string"}),
        ({"type": "string", "pattern": "(?<=a)b"}, {"type": "string"}),
        (
            {"type": "array", "items": {"type": "integer", "multipleOf": 2}, "minItems": 1, "uniqueItems": True},
            {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        ),
        ({"type": "number", "minimum": 3, "exclusiveMaximum": 3}, {"type": "number"}),
        ({"type": "integer", "minimum": 1.5, "maximum": 4}, {"type": "integer", "maximum": 4}),
        ({"allOf": [{"type": "string"}, {"maxLength": 2}], "description": "x"}, {"description": "x"}),
        ({"type": "object", "minProperties": 2}, {"type": "object"}),
        (
            {"type": "object", "properties": {"a": {}}, "patternProperties": {"^b": {}}},
            {"type": "object", "properties": {"a": {}}},
        ),
    ],
)
def test_what_would_be_refused_is_passed_over(schema: dict[str, Any], shown: dict[str, Any]) -> None:
    assert enforceable(schema) == shown
    assert enforceable({"$defs": {"pattern": schema}, "anyOf": [schema]}) == {
        "$defs": {"pattern": shown},
        "anyOf": [shown],
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": r"^(?!a)(?:\\b|[a-c]){2}$"},
        {"type": "string", "minLength": 1, "maxLength": 2},
        {"type": "number", "minimum": 1.5, "exclusiveMaximum": 2},
        {"type": "integer", "minimum": 3.0, "maximum": 3},
        {"type": "object", "patternProperties": {"^a": {"const": {"uniqueItems": True}}}},
        {"type": "object", "properties": {"uniqueItems": {"enum": ["multipleOf"]}}, "minProperties": 1},
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "string"}},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "null"}}},
    ],
    ids=str,
)
def test_what_is_enforced_stays(schema: dict[str, Any]) -> None:
    assert enforceable(schema) == schema


def test_the_schema_of_an_answer_is_sent_without_it() -> None:
    schema = {"type": "array", "uniqueItems": True}
    named = {"name": "x", "schema": schema, "strict": True}
    body = {"model": "m", "messages": [], "response_format": {"type": "json_schema", "json_schema": named}}
    sent = Vllm().adapt("chat", body)["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {**named, "schema": {"type": "array"}}}
    assert schema == {"type": "array", "uniqueItems": True}
