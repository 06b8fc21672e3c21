"""JSON schemas in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def type_in_words(schema: Mapping[str, Any]) -> str:
    """A field's JSON type in words."""
    given = schema.get("anyOf") or schema.get("oneOf") or [schema]
    options = [option for option in given if option.get("type") != "null"]
    return " or ".join(dict.fromkeys(_one_type(option) for option in options))


def _one_type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        names = {option.get("type") for option in schema["anyOf"]}
        word = "number" if names == {"integer", "number"} else type_in_words(schema)
    elif "oneOf" in schema:
        word = type_in_words(schema)
    elif "$ref" in schema:
        word = f"object ({schema['$ref'].rsplit('/', 1)[-1]})"
    elif "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    elif schema.get("type") == "array":
        word = f"list of {type_in_words(schema['items'])}"
    else:
        word = str(schema.get("type", "anything"))
    return word + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum", schema.get("ge"))
    high = schema.get("maximum", schema.get("le"))
    if (longest := schema.get("maxLength")) is not None:
        return f", at most {longest} characters"
    above = schema.get("exclusiveMinimum")
    if above is not None:
        return f", more than {above}" if high is None else f", more than {above}, at most {high}"
    if low is None and high is None:
        return ""
    if high is None:
        return f", {low} or more"
    return f", at most {high}" if low is None else f", {low} to {high}"
