"""Arguments of calls that come as JSON text: command lines, templates and gateways have nothing else to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

CALLING: Final = "tools/call"


def with_arguments_read(message: dict[str, Any]) -> dict[str, Any]:
    """Return ``message`` with all arguments of a call read, if they came as the text of one JSON object."""
    params = message.get("params")
    if message.get("method") != CALLING or not isinstance(params, dict):
        return message
    read = _read(params.get("arguments"))
    return {**message, "params": {**params, "arguments": read}} if isinstance(read, dict) else message


def values_read(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``arguments`` with each text read that stands where ``schema``, of an input, wants something else.

    What is no JSON stays as it is, for whoever checks the values.
    """
    properties = schema.get("properties", {})
    return {name: _value(value, properties.get(name, {})) for name, value in arguments.items()}


def _value(value: Any, schema: Mapping[str, Any]) -> Any:
    if schema.get("type", "string") == "string":
        return value
    read = _read(value)
    return value if read is None else read


def _read(text: Any) -> Any:
    """Return what ``text`` says; ``None`` if it is no text, or no JSON."""
    if not isinstance(text, str):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
