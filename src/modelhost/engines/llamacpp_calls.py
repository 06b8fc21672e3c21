"""The JSON schema of a tool call, for a request that demands one: ``{"name": ..., "arguments": {...}}``."""

from __future__ import annotations

from typing import Any

import orjson

_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def schema_of(tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the JSON schema of a call of one of ``tools``; none where references would lose their root."""
    if b'"$ref"' in orjson.dumps(tools):
        return None
    calls = [_call_of(tool["function"]) for tool in tools]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def _call_of(function: dict[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters")
    arguments = {"type": "object", **parameters} if parameters else _NO_ARGUMENTS
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
