"""A tool call that has to be made, for an engine that cannot force one: the model writes its JSON as its text.

The engine asks its model for JSON of the form ``{"name": ..., "arguments": {...}}``, in this order, and
:class:`ForcedCall` turns that text, as it comes, into the incremental deltas of one tool call.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import orjson

_OPENING = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\S)')


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
            if is_last and self._arguments_at is None:
                delta["content"] = self._text  # cut before there was a call in it
            elif choice.get("finish_reason") == "stop":
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
