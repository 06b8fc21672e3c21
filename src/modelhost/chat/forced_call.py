"""A call that has to be made, for engines that cannot force one: the model writes its JSON, the client gets a tool call.

The engine is asked for JSON of the schema that :func:`schema_of` makes, ``{"name": ..., "arguments": {...}}`` in this
order, and :class:`ForcedCall` turns that text, as it comes, into the incremental deltas of one tool call.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import orjson

_OPENING = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
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


class ForcedCall:
    """Rewrites the chunks of one choice."""

    def __init__(self) -> None:
        self._text = ""
        self._arguments_at: int | None = None
        self._sent = 0

    def rewrite(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Return ``chunk`` with a piece of the call in place of the text."""
        for choice in chunk["choices"]:
            delta, is_last = choice["delta"], choice.get("finish_reason") is not None
            self._text += delta.pop("content", None) or ""
            pieces = self._pieces(is_last=is_last)
            if pieces:
                delta["tool_calls"] = pieces
            if choice.get("finish_reason") == "stop":
                choice["finish_reason"] = "tool_calls"
        return chunk

    def _pieces(self, *, is_last: bool) -> list[dict[str, Any]]:
        pieces: list[dict[str, Any]] = []
        if self._arguments_at is None:
            opening = _OPENING.match(self._text)
            if opening is None:
                return []
            self._arguments_at = opening.end()
            function = {"name": orjson.loads(opening[1]), "arguments": ""}
            pieces.append({"index": 0, "id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function})
        arguments = self._text[self._arguments_at :]
        ready = arguments if is_last and not self._is_whole() else _without_outer_brace(arguments)
        if len(ready) > self._sent:
            pieces.append({"index": 0, "function": {"arguments": ready[self._sent :]}})
            self._sent = len(ready)
        return pieces

    def _is_whole(self) -> bool:
        try:
            orjson.loads(self._text)
        except orjson.JSONDecodeError:
            return False
        return True


def _without_outer_brace(text: str) -> str:
    """Return ``text`` without what may turn out to be the end of the object around the arguments."""
    return text.rstrip().removesuffix("}").rstrip()
