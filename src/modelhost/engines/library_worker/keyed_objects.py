"""Calls as JSON objects with name and arguments: what one begins with, what is in it, what schema it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from modelhost.engines.library_worker.call_rules import arguments_schema
from modelhost.engines.library_worker.json_ends import as_json

_TEXT: Final = r'"(?:[^"\\]|\\.)+"'


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of such an object.

    Args:
        number: of the call among all of the conversation; it stands first, as a text. Empty where there is none.
    """

    name: str = "name"
    arguments: str = "arguments"
    number: str = ""

    @cached_property
    def head(self) -> str:
        """The regular expression of what stands before the arguments, with the group ``json`` for the name."""
        number = rf'(?:"{self.number}"\s*:\s*(?:"[^"\\]*"|\d+)\s*,\s*)?' if self.number else ""
        return (
            rf'[\s\[,;]*\{{\s*(?:"type"\s*:\s*"function"\s*,\s*)?{number}"{self.name}"\s*:\s*(?P<json>{_TEXT})\s*,\s*'
            r'"(?:arguments|parameters)"\s*:\s*(?=\{)'
        )

    def schema(self, function: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON schema of a call of ``function``.

        Definitions are at its root, where references look for them.
        """
        arguments, definitions = arguments_schema(function)
        number = {self.number: {"type": "string", "pattern": "^[0-9]{1,4}$"}} if self.number else {}
        properties = {**number, self.name: {"const": function["name"]}, self.arguments: arguments}
        return {
            **definitions,
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def call_in(self, text: str) -> tuple[str, str] | None:
        """Return name and arguments of the call that is ``text``, whatever its order; ``None`` if it is none."""
        try:
            call = orjson.loads(as_json(text))
        except orjson.JSONDecodeError:
            return None
        if isinstance(call.get("function"), dict):
            call = call["function"]
        if not isinstance(call.get(self.name), str):
            return None
        arguments = call.get("arguments", call.get("parameters"))
        if isinstance(arguments, str):
            return call[self.name], as_json(arguments)
        return call[self.name], orjson.dumps({} if arguments is None else arguments).decode()


USUAL_KEYS: Final = Keys()


def text_of(written: str) -> str | None:
    """Return the text that JSON has ``written``; ``None`` if it is no proper JSON."""
    try:
        return str(orjson.loads(written))
    except orjson.JSONDecodeError:
        return None
