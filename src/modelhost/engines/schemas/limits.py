"""Limits of the JSON schemas that engines get: they make grammars of them, and a short schema can expand to a huge
one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any, Final
from urllib.parse import unquote

from modelhost.engines.schemas.plain import VALUES
from modelhost.engines.schemas.references import UnusableSchema

MOST_VALUES: Final = 50_000
"""Values of a schema with its references expanded."""
MOST_ALTERNATIVES: Final = 10_000
"""Combinations of ``anyOf``, ``oneOf`` and types, in the whole schema or in one that ``allOf`` combines."""
DEEPEST: Final = 128
"""Levels, including those through references."""

MULTIPLYING: Final = frozenset({"$ref", "allOf"})
SCHEMAS: Final = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties", "additionalItems"),
)
LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
MAPS: Final = ("properties", "patternProperties", "dependentSchemas")


def check_size(schema: Mapping[str, Any]) -> None:
    """Check that ``schema`` is not too large for engines.

    Raises:
        UnusableSchema: it is.
    """
    level: list[Any] = [schema]
    count, depth, multiplies = 0, 0, False
    while level and depth < DEEPEST:
        depth += 1
        count += len(level)
        multiplies = multiplies or any(isinstance(each, dict) and not MULTIPLYING.isdisjoint(each) for each in level)
        level = [each for value in level for each in _inside(value)]
    if level:
        raise UnusableSchema("#", f"it is nested deeper than {DEEPEST} levels")
    if count > MOST_VALUES:
        raise UnusableSchema("#", f"it has more than {MOST_VALUES:,} values")
    if multiplies:  # without, it means no more than is written there
        _Expansion(schema).check()


class _Expansion:
    """The size of a schema with its references expanded; each part is counted once."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._found: dict[int, tuple[int, int]] = {}
        """The number of values and of alternatives, by the identity of the schema."""

    def check(self) -> None:
        self._of(self._root, 0)

    def _of(self, schema: Any, depth: int) -> tuple[int, int]:
        if not isinstance(schema, Mapping):
            return 1, 1
        if id(schema) in self._found:
            return self._found[id(schema)]
        if depth > DEEPEST:
            raise UnusableSchema("#", f"it refers on and on, over more than {DEEPEST} levels")
        self._found[id(schema)] = 1, 1  # for a schema that contains itself, of which engines make a rule
        parts = {key: [self._of(each, depth + 1) for each in found] for key, found in self._parts(schema)}
        enum = schema.get("enum")
        values = 1 + (len(enum) if isinstance(enum, list) else 0)
        values += sum(part[0] for found in parts.values() for part in found)
        alternatives = _alternatives(schema, {key: [part[1] for part in found] for key, found in parts.items()})
        if values > MOST_VALUES:
            raise UnusableSchema("#", f"it has more than {MOST_VALUES:,} values when its references are written out")
        if alternatives > MOST_ALTERNATIVES:
            raise UnusableSchema("#", f"it has more than {MOST_ALTERNATIVES:,} alternatives")
        self._found[id(schema)] = values, alternatives
        return values, alternatives

    def _parts(self, schema: Mapping[str, Any]) -> Iterator[tuple[str, Iterable[Any]]]:
        for key in SCHEMAS:
            if isinstance(schema.get(key), Mapping):
                yield key, (schema[key],)
        for key in LISTS:
            if isinstance(schema.get(key), list):
                yield key, schema[key]
        for key in MAPS:
            if isinstance(schema.get(key), Mapping):
                yield key, schema[key].values()
        if isinstance(schema.get("$ref"), str):
            yield "$ref", (self._referred(schema["$ref"]),)

    def _referred(self, reference: str) -> Any:
        """Return the target of a reference within the schema; ``None`` for other references."""
        pointer, found = reference.partition("#"), self._root
        if pointer[0]:
            return None
        for step in unquote(pointer[2]).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                return None
        return found


def _alternatives(schema: Mapping[str, Any], parts: Mapping[str, list[int]]) -> int:
    types = schema.get("type")
    own = len(types) if isinstance(types, list) and types else 1
    chosen = [sum(parts[key]) for key in ("anyOf", "oneOf") if parts.get(key)]
    return own * prod([*chosen, *parts.get("allOf", ()), *parts.get("$ref", ())])


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


MOST_WRITTEN_OUT: Final = 10_000
"""llguidance processes some 40,000 within a second, and fails at a million: the answer is then not constrained."""
_PART: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?:)?|\)|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)
_FREE: Final = frozenset("|*+?^$")


def is_too_large(pattern: str) -> bool:
    """Return whether the regular expression ``pattern`` has more than ``MOST_WRITTEN_OUT`` characters when expanded."""
    return expanded_size(pattern) > MOST_WRITTEN_OUT


def expanded_size(pattern: str) -> int:
    """Return the number of characters of ``pattern`` with each repetition expanded to its maximum."""
    totals = [0]
    last = 0
    for part in _PART.finditer(pattern):
        text = part[0]
        if text[0] == "(":
            totals.append(0)
            last = 0
        elif text == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        elif part[1] is not None:
            times = max(int(part[1]), int(part[2] or 0))
            totals[-1] += last * (times - 1)
            last *= times
        elif text not in _FREE:
            last = 1
            totals[-1] += 1
    return sum(totals)


LARGEST_NUMBER: Final = 10**15
"""As in llama.cpp."""
_BOUNDS: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "const", "enum", "multipleOf"}
)


def with_number_bounds(schema: Any) -> Any:
    """Return ``schema`` with bounds for numbers without: a small model may write digits forever."""
    if isinstance(schema, list):
        return [with_number_bounds(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: value if key in VALUES else with_number_bounds(value) for key, value in schema.items()}
    if changed.get("type") in ("integer", "number") and _BOUNDS.isdisjoint(changed):
        changed |= {"minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}
    return changed
