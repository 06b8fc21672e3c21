"""Parts of the grammars of calls, in llguidance's variant of Lark
(https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from modelhost.engines.schemas.rules import COMPACT, json_rule

NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
DEFINITIONS = ("$defs", "definitions")
_COMPOSED = frozenset(
    {"additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf", "if"}
)
"""Keywords of an object that allow properties that are not named in it."""
LONGEST_TEXT = 10_000
"""The largest ``maxLength`` of a text outside of JSON that is enforced: a larger one costs more than it gains."""
_REFERENCE = re.compile(r"#/(?:\$defs|definitions)/([^/]+)")


class Literals:
    """Writes the literal parts of a call; a marker that is one token of the model becomes that token."""

    def __init__(self, markers: Collection[str], vocabulary: Mapping[str, int]) -> None:
        self._tokens = {marker: vocabulary[marker] for marker in markers if marker in vocabulary}
        longest_first = sorted(self._tokens, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None

    def of(self, text: str) -> str:
        parts = self._split.split(text) if self._split else [text]
        return " ".join(
            f"<[{self._tokens[part]}]>" if part in self._tokens else json.dumps(part) for part in parts if part
        )

    def text_until(self, end: str, name: str, schema: Mapping[str, Any]) -> tuple[str, str]:
        """Return the reference to, and the rule ``name`` of, a text of ``schema`` followed by ``end``."""
        most = schema.get("maxLength")
        bound = "" if most is None or most > LONGEST_TEXT else most
        repeated = f"{{{schema.get('minLength', 0)},{bound}}}"
        marker = next((marker for marker in self._tokens if end.lstrip().startswith(marker)), None)
        if marker is None:
            return name, f"{name}[lazy]: /(.|\\n){repeated}{_escaped(end)}/"
        return f"{name} {self.of(end)}", f"{name}: /(.|\\n){repeated}/"


def choice(tools: Sequence[Mapping[str, Any]], rules_of: Callable[[str, Mapping[str, Any]], Iterable[str]]) -> str:
    """Return a grammar of one call. ``rules_of`` gives the rules of a call by its name; the first one is the call."""
    names = [f"call_{number}" for number in range(len(tools))]
    rules = [rule for name, tool in zip(names, tools, strict=True) for rule in rules_of(name, tool["function"])]
    return "\n".join([f"start: {' | '.join(names)}", *rules])


def arguments_schema(function: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of the arguments of a tool and, separately, the definitions that it refers to.

    Unless it allows other arguments explicitly, they are excluded, as with llama.cpp: a small model would write them
    forever.
    """
    parameters = dict(function.get("parameters") or NO_ARGUMENTS)
    definitions = {key: parameters.pop(key) for key in DEFINITIONS if key in parameters}
    if parameters.get("properties") and _COMPOSED.isdisjoint(parameters):
        parameters["additionalProperties"] = False
    return {"type": "object", **parameters}, definitions


def arguments_of(function: Mapping[str, Any]) -> tuple[list[tuple[str, dict[str, Any]]], frozenset[str]]:
    """Return the arguments of a tool by name, each with a self-contained schema, and the names of required ones."""
    schema, definitions = arguments_schema(function)
    properties = schema.get("properties") or {}
    required = [name for name in schema.get("required") or () if isinstance(name, str)]
    names = [*properties, *(name for name in required if name not in properties)]
    return [(name, {**definitions, **_schema(properties.get(name))}) for name in names], frozenset(required)


def json_value(schema: Mapping[str, Any]) -> str:
    return json_rule(schema, COMPACT)


def types_of(schema: Any, root: Mapping[str, Any] | None = None, depth: int = 0) -> frozenset[str]:
    """Return the JSON types that ``schema`` allows, if it restricts them; otherwise an empty set."""
    if not isinstance(schema, Mapping) or depth > 8:  # a reference may lead back to itself
        return frozenset()
    root = schema if root is None else root
    if (reference := _REFERENCE.fullmatch(str(schema.get("$ref", "")))) is not None:
        found = [root[key][reference[1]] for key in DEFINITIONS if reference[1] in root.get(key, {})]
        return types_of(found[0], root, depth + 1) if found else frozenset()
    if "type" in schema:
        given = schema["type"]
        return frozenset([given] if isinstance(given, str) else given)
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
    if values is not None:
        return frozenset(map(_type_of, values))
    parts = [types_of(part, root, depth + 1) for key in ("anyOf", "oneOf") for part in schema.get(key) or ()]
    return frozenset().union(*parts) if all(parts) else frozenset()


def _type_of(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def _schema(schema: Any) -> dict[str, Any]:
    return dict(schema) if isinstance(schema, Mapping) else {}


def _escaped(text: str) -> str:
    """Return ``text`` as part of a regular expression between slashes."""
    return re.escape(text).replace("\\\n", "\\n").replace("\n", "\\n").replace("/", "\\/")
