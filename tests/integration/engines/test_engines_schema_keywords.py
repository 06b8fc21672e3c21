"""What docs/reference/engines.md says that engines enforce of a JSON schema is enforced, whatever is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from modelhost.engines.capabilities import KEYWORDS
from tests.integration.engines.served import Asking, Served

DETAILS = "modelhost.finish_details"
FLAG: Mapping[str, Any] = {"type": "boolean"}
BOTH: Mapping[str, Any] = {"a": FLAG, "b": FLAG}
EITHER: Mapping[str, Any] = {"type": "object", "properties": BOTH, "required": ["a"], "additionalProperties": False}
SCHEMAS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "values": ({"type": "integer"}, {"enum": ["red", 1, None]}, {"const": {"a": [1]}}),
    "properties": (
        EITHER,
        {"type": "object", "properties": {"a": FLAG}, "additionalProperties": {"type": "null"}, "maxProperties": 2},
    ),
    "required_undeclared": ({"type": "object", "required": ["x"], "additionalProperties": FLAG},),
    "property_counts": ({"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": FLAG},),
    "pattern_properties": ({"type": "object", "patternProperties": {"^a$": FLAG}, "additionalProperties": False},),
    "pattern_properties_beside": (
        {
            "type": "object",
            "properties": {"b": FLAG},
            "patternProperties": {"^a$": FLAG},
            "additionalProperties": False,
        },
    ),
    "property_names": ({"type": "object", "propertyNames": {"enum": ["a"]}, "additionalProperties": FLAG},),
    "items": (
        {"type": "array", "items": FLAG, "minItems": 3, "maxItems": 4},
        {"type": "array", "prefixItems": [FLAG, {"type": "null"}], "items": False, "minItems": 2},
    ),
    "unique_items": (
        {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2, "uniqueItems": True},
        {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 1, "maxItems": 2, "contains": {"const": 3}},
    ),
    "lengths": ({"type": "string", "minLength": 3, "maxLength": 5},),
    "pattern": (
        {"type": "string", "pattern": "^[ab]{2,3}$"},
        {"type": "string", "pattern": r"^\d\w\s\S$"},
        {"type": "string", "pattern": r"\d\d"},
    ),
    "pattern_and_length": ({"type": "string", "pattern": "ab", "maxLength": 4},),
    "pattern_looks": ({"type": "string", "pattern": "^(?!a)[ab]{2}$"}, {"type": "string", "pattern": r"^a\b.c$"}),
    "format": ({"type": "string", "format": "date"}, {"type": "string", "format": "uuid"}),
    "format_other": ({"type": "string", "format": "idn-hostname", "maxLength": 20},),
    "bounds": (
        {"type": "integer", "minimum": 17, "maximum": 23},
        {"type": "number", "exclusiveMinimum": 3, "maximum": 4},
    ),
    "multiple_of": ({"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 100},),
    "any_of": ({"anyOf": [FLAG, {"enum": ["x"]}]},),
    "one_of": ({"oneOf": [FLAG, {"type": "integer", "minimum": 0, "maximum": 5}]},),
    "one_of_overlapping": ({"oneOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]},),
    "all_of": (
        {"type": "object", "allOf": [{"properties": BOTH, "required": ["a"]}, {"properties": BOTH, "required": ["b"]}]},
    ),
    "references": ({"$ref": "#/$defs/color"}, {"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
    "negations": (
        {"type": "integer", "minimum": 1, "maximum": 3, "not": {"const": 2}},
        {**EITHER, "if": {"properties": {"a": {"const": True}}}, "then": {"required": ["b"]}},
    ),
    "dependent": ({**EITHER, "required": [], "dependentRequired": {"a": ["b"]}},),
}


def test_every_line_of_the_table_has_a_schema() -> None:
    assert SCHEMAS.keys() == KEYWORDS.keys()


@pytest.mark.parametrize("keyword", SCHEMAS)
def test_what_is_enforced_is_never_violated_and_what_is_not_is_told(
    asking: Asking, served: Served, keyword: str
) -> None:
    unenforced = served.capabilities.unenforced
    is_known = unenforced is not None and not served.label
    for value in SCHEMAS[keyword]:
        schema: dict[str, Any] = {"type": "object", "properties": {"v": value}, "required": ["v"]}
        schema |= {"additionalProperties": False, "$defs": {"color": {"enum": ["red", "blue"]}}}
        shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
        for seed, temperature in ((1, 0.8), (2, 1.5)):
            drawn = {"temperature": temperature, "max_tokens": 60, **served.seed(seed)}
            # In a stream nothing is asked for again: what is there is what the engine wrote at once.
            chunks = asking.chunks("Tell me a joke.", response_format=shape, **drawn)
            choices = [choice for chunk in chunks for choice in chunk["choices"]]
            if "length" in (choice["finish_reason"] for choice in choices):
                continue
            details = next((chunk[DETAILS] for chunk in chunks if DETAILS in chunk), None)
            text = "".join(choice["delta"].get("content") or "" for choice in choices)
            assert (details is None) is _fits(text, schema), text
            if is_known and keyword not in (unenforced or ()):
                assert details is None, text


def _fits(text: str, schema: Mapping[str, Any]) -> bool:
    try:
        jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())
    except (jsonschema.ValidationError, json.JSONDecodeError):
        return False
    return True
