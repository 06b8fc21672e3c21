"""The JSON schema of a tool call, for a request that demands one: ``{"name": ..., "arguments": {...}}``.

The schemas of tools are plain (:mod:`modelhost.engines.plain_schemas`): they refer to their own definitions and to
nothing else, which become those of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.plain_schemas import VALUES

DEFINITIONS: Final = ("$defs", "definitions")
OF_SCHEMAS: Final = frozenset({*DEFINITIONS, "properties", "patternProperties", "dependentSchemas"})
"""Keywords that hold schemas by names."""
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def schema_of(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON schema of a call of one of ``tools``."""
    shared: dict[str, Any] = {}
    calls = [_call_of(tool["function"], f"{number}.", shared) for number, tool in enumerate(tools)]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": shared} if shared else schema


def _call_of(function: dict[str, Any], prefix: str, shared: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a call; ``shared`` gets what it refers to, with ``prefix`` before the names."""
    arguments: dict[str, Any] = _NO_ARGUMENTS
    if parameters := function.get("parameters"):
        arguments = {"type": "object", **_moved(parameters, prefix)}
        for key in DEFINITIONS:
            shared.update({f"{prefix}{name}": each for name, each in arguments.pop(key, {}).items()})
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, prefix: str) -> Any:
    """Return ``schema`` with references to definitions of its own as those to the shared ones."""
    if isinstance(schema, list):
        return [_moved(each, prefix) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$ref":
            made[key] = f"#/$defs/{prefix}{value.rpartition('/')[2]}"
        elif key in OF_SCHEMAS:
            made[key] = {name: _moved(each, prefix) for name, each in value.items()}
        else:
            made[key] = value if key in VALUES else _moved(value, prefix)
    return made
