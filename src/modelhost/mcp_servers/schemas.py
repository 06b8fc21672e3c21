"""JSON schemas of tools, generated from the operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import AliasChoices
from pydantic.json_schema import GenerateJsonSchema

from modelhost.operations.operation import Parameters, Result

Schema = dict[str, Any]

ONE: Final = "model_id"
MANY: Final = "model_ids"
"""The parameter for several models, beside ``model_id`` for one."""


class _WithoutFieldTitles(GenerateJsonSchema):
    """Omits the titles of fields, which only repeat the names and cost tokens of every model that gets the tools."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def input_schema(parameters: type[Parameters]) -> Schema:
    """Return the schema of ``parameters``.

    What may be left out has its type alone, without `null`: programs that make arguments of text look for one type.
    """
    schema = _untitled(parameters.model_json_schema(mode="validation", schema_generator=_WithoutFieldTitles))
    defined = schema.get("$defs", {})
    fields = schema.get("properties", {})
    return {**schema, "properties": {name: _typed(field, defined) for name, field in fields.items()}}


def output_schema(result: type[Result]) -> Schema:
    return _untitled(result.model_json_schema(mode="serialization", schema_generator=_WithoutFieldTitles))


def parameter_names(parameters: type[Parameters]) -> frozenset[str]:
    """Return all names of the parameters, including aliases."""
    names: set[str] = set()
    for name, field in parameters.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            names.update(choice for choice in alias.choices if isinstance(choice, str))
        else:
            names.add(alias if isinstance(alias, str) else name)
    return frozenset(names)


def several_input_schema(schema: Schema) -> Schema:
    """Return the schema of an input with one model or several; it cannot express that exactly one is required.

    Combinators at the top of a schema are refused by some of those who show tools to models.
    """
    properties = dict(schema["properties"])
    several = {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "minItems": 1,
        "description": f"Several at once, instead of `{ONE}`; the answer is then `success` and a list of `results`.",
    }
    required = [name for name in schema.get("required", ()) if name != ONE]
    made = {key: value for key, value in schema.items() if key != "required"}
    made["properties"] = {ONE: properties.pop(ONE), MANY: several, **properties}
    return {**made, "required": required} if required else made


def with_failure(schema: Schema) -> Schema:
    """Return the schema of an output that is ``schema``, or an error.

    Some clients hold the structured content of errors to it as well, which the protocol does not ask for.
    """
    return _one_of(schema)


def several_output_schema(schema: Schema) -> Schema:
    """Return the schema of an output that is ``schema``, the results of several models, or an error."""
    failed = {**_FAILURE, "properties": {**_FAILURE["properties"], ONE: {"type": "string"}}}
    several = {
        "type": "object",
        "properties": {
            "success": {"type": "boolean", "description": "Whether it went well with all of them."},
            "results": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Result"}, {"$ref": "#/$defs/Failed"}]}},
        },
        "required": ["success", "results"],
    }
    return _one_of(schema, Results=several, Failed={**failed, "required": [*_FAILURE["required"], ONE]})


_FAILURE: Final[Schema] = {
    "type": "object",
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object", "properties": {"suggestion": {"type": "string"}}},
            },
            "required": ["code", "message", "details"],
        },
    },
    "required": ["success", "error"],
}


def _one_of(schema: Schema, **others: Schema) -> Schema:
    result = {key: value for key, value in schema.items() if key != "$defs"}
    choices = {"Result": result, **others, "Failure": _FAILURE}
    return {
        "type": "object",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in choices if name != "Failed"],
        "$defs": {**schema.get("$defs", {}), **choices},
    }


def _typed(field: Schema, defined: Mapping[str, Schema]) -> Schema:
    """Return the schema of a parameter without `null`, which means the same as omitting it."""
    if "$ref" in field:
        return {"type": defined[field["$ref"].rpartition("/")[2]]["type"], **field}
    kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return field
    rest = {key: value for key, value in field.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**kinds[0], **rest}


def _untitled(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "title"}
