"""Schemas that engines could not cope with are refused before any engine sees them, and ordinary ones never are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from modelhost.chat.parsing.validation import validate
from modelhost.errors import InvalidRequest

MESSAGES = [{"role": "user", "content": "Hello!"}]
DOUBLING = {
    "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)} | {"d30": {"type": "null"}},
    "$ref": "#/$defs/d0",
}
DOUBLED_FIELDS = {
    "$defs": {
        f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}, "b": {"$ref": f"#/$defs/d{n + 1}"}}}
        for n in range(30)
    },
    "$ref": "#/$defs/d0",
}
COMBINED = {"allOf": [{"anyOf": [{"const": f"{n}-{m}"} for m in range(10)]} for n in range(7)]}
TYPES = {"allOf": [{"type": ["string", "null"]}] * 20}
CHAIN = {"$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(5000)}, "$ref": "#/$defs/d0"}
LONG = {"enum": list(range(60_000))}


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (DOUBLING, "values when its references are written out"),
        (DOUBLED_FIELDS, "values when its references are written out"),
        (COMBINED, "alternatives"),
        (TYPES, "alternatives"),
        (CHAIN, "refers on and on"),
        (LONG, "has more than 50,000 values"),
        (_deep(150), "nested deeper"),
        (_deep(900), "nested deeper"),
    ],
)
def test_a_schema_that_means_too_much_is_refused_wherever_it_stands(schema: dict[str, Any], why: str) -> None:
    fields: dict[str, Any] = {
        "response_format.json_schema.schema": {
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        },
        "json_schema": {"json_schema": schema},
        "tools[1].function.parameters": {
            "tools": [
                {"type": "function", "function": {"name": "fine", "parameters": {"type": "object"}}},
                {"type": "function", "function": {"name": "x", "parameters": schema}},
            ]
        },
    }
    for param, given in fields.items():
        with pytest.raises(InvalidRequest, match=why) as refused:
            validate("chat", {"messages": MESSAGES, **given})
        assert refused.value.param == param
    with pytest.raises(InvalidRequest, match=why):
        validate("completions", {"prompt": "x", "json_schema": schema})


def test_those_are_short() -> None:
    assert all(len(orjson.dumps(schema)) < 2500 for schema in (DOUBLING, COMBINED, TYPES))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$ref": "#"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/nowhere/0"},
        {"type": "object", "properties": {"enum": {"type": "string"}, "anyOf": {"enum": ["a", "b"]}}},
        {"$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"},
        {"$defs": {"a/b": {"oneOf": [True, {"$ref": "#/$defs/a~1b"}]}}, "items": [{"$ref": "#/$defs/a~1b"}, False]},
        {"properties": {f"field_{n}": {"type": ["string", "null"], "maxLength": 200} for n in range(300)}},
        {"type": "array", "maxItems": 1000, "items": {"anyOf": [{"const": n} for n in range(1000)]}},
        {"enum": [f"country {n}" for n in range(5000)]},
        _deep(40),
    ],
)
def test_an_ordinary_schema_passes(schema: dict[str, Any]) -> None:
    validate("chat", {"messages": MESSAGES, "json_schema": schema})
