"""JSON schemas in the form that grammars and chat templates take.

An engine turns the schema of a tool or of an answer into a grammar, and a chat template reads it for the prompt. Both
know less than JSON Schema allows, and one schema that they do not take fails the whole request. :func:`plain` returns
a schema that accepts the same values in simpler words: no boolean schemas, references into ``$defs`` only, alternatives
that name their type, numbers of 64 bits, counts that a grammar can hold. Where there are no simpler words, it accepts
more, never less: the result is checked against the original. A schema that needs no change is returned unchanged.

What is not a schema, such as an unknown type or a reference to nothing, raises :class:`UnusableSchema`.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelhost import patterns
from modelhost.engines.schemas.references import References, UnusableSchema, endless_reference

TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
DEPTH: Final = 100
"""The nesting of schemas; every library that reads them has such a limit."""
TOO_DEEP: Final = f"it is nested more than {DEPTH} deep"
MOST_REPEATED: Final = 1000
"""The largest minimum of items or characters: the grammars of llama.cpp repeat up to 2000 times."""
LARGEST_COUNT: Final = 100_000
EXACT: Final = 2**53
"""Larger bounds are left out: some engines compute with floats, llama.cpp with 64 bits, and both overflow."""
OF_SCHEMAS: Final = ("properties", "patternProperties", "$defs", "definitions")
ALTERNATIVES: Final = ("anyOf", "oneOf")
LEAST_AND_MOST: Final = (("minItems", "maxItems"), ("minLength", "maxLength"), ("minProperties", "maxProperties"))
LEAST: Final = frozenset(least for least, _ in LEAST_AND_MOST)
COUNTS: Final = frozenset(name for pair in LEAST_AND_MOST for name in pair)
BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
VALUES: Final = frozenset({"const", "enum", "default", "examples"})
"""Keywords with values, which contain no schemas."""
DEPEND_ON_OTHERS: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
"""No engine enforces them, and their meaning changes with every other change."""
OPAQUE: Final = frozenset(
    {"not", "if", "then", "else", "contains", "propertyNames", "dependentSchemas", "dependencies", "additionalItems"}
)
"""No engine enforces them. They are kept for the model to read, unless they refer to what may have changed."""
ANNOTATIONS: Final = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "$comment"})
NEVER: Final[Mapping[str, Any]] = {"not": {}}
_REPEATS: Final = re.compile(r"\{(\d*),?(\d*)\}")
_KINDS: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSchema:
    """A schema that engines and templates take."""

    schema: Mapping[str, Any]
    not_fetched: Mapping[str, str]
    """References to other documents, by their location: none is fetched, and any value is accepted for them."""


def plain(schema: Mapping[str, Any]) -> PlainSchema:
    """Return ``schema`` in plain form: an equal one if it is plain.

    Raises:
        UnusableSchema: it is not a schema, or no value could be checked against it.
    """
    rewriting = _Rewriting(schema)
    try:
        made = rewriting.whole()
    except RecursionError:
        raise UnusableSchema("#", TOO_DEEP) from None
    return PlainSchema(schema=made, not_fetched=rewriting.references.not_fetched)


def plain_parameters(schema: Mapping[str, Any]) -> PlainSchema:
    """As :func:`plain`, for the arguments of a tool, which are an object.

    Raises:
        UnusableSchema: as above, or it accepts no object.
    """
    made = plain(schema)
    kinds = made.schema.get("type", "object")
    if "object" not in ([kinds] if isinstance(kinds, str) else kinds):
        raise UnusableSchema("#/type", 'the arguments of a tool are an object, so that it has to be "object"')
    return made


def check_patterns(schema: Any, at: str = "#") -> None:
    """Check that the patterns of ``schema`` are regular expressions.

    Raises:
        UnusableSchema: one is not valid.
    """
    if isinstance(schema, list):
        for number, each in enumerate(schema):
            check_patterns(each, f"{at}/{number}")
    if not isinstance(schema, Mapping):
        return
    for key, value in schema.items():
        place = f"{at}/{_escaped(key)}"
        if key == "pattern" and isinstance(value, str):
            _check_pattern(value, place)
        elif key in OF_SCHEMAS and isinstance(value, Mapping):
            for name, each in value.items():
                if key == "patternProperties":
                    _check_pattern(name, place)
                check_patterns(each, f"{place}/{_escaped(name)}")
        elif key not in VALUES:
            check_patterns(value, place)


def _check_pattern(pattern: str, at: str) -> None:
    try:
        patterns.check(pattern)
    except ValueError as error:
        raise UnusableSchema(at, f"{pattern!r} is no regular expression: {error}") from None


class _Rewriting:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self.references = References(root)

    def whole(self) -> dict[str, Any]:
        made = self._object(self._root, "#", 0)
        if made == NEVER:
            return made  # its definitions are gone, and nothing refers to them
        while moved := self.references.next_moved():
            name, target, place = moved
            made["$defs"] = {**made.get("$defs", {}), name: self._schema(target, place, 0)}
        if (at := endless_reference(made)) is not None:
            raise UnusableSchema(at, "the reference leads back to itself")
        return made

    def _schema(self, schema: Any, at: str, depth: int) -> dict[str, Any]:
        if schema is True:
            return {}
        if schema is False:
            return dict(NEVER)
        if not isinstance(schema, Mapping):
            raise UnusableSchema(at, "a schema has to be an object, true or false")
        return self._object(schema, at, depth)

    def _object(self, schema: Mapping[str, Any], at: str, depth: int) -> dict[str, Any]:
        if depth > DEPTH:
            raise UnusableSchema(at, TOO_DEEP)
        made: dict[str, Any] = {}
        for key, value in schema.items():
            made |= self._keyword(key, value, f"{at}/{_escaped(key)}", depth + 1)
        if not made.get("enum", [True]):
            return dict(NEVER)
        _bound_items(schema, made)
        _settle_counts(made)
        return made

    def _keyword(self, key: str, value: Any, at: str, depth: int) -> dict[str, Any]:  # noqa: PLR0911 (one for each kind)
        if key == "$ref":
            return self._reference(value, at)
        if key == "type":
            return {} if value is None else {key: _checked_type(value, at)}
        if key in OF_SCHEMAS:
            return self._named(key, value, at, depth)
        if key in ALTERNATIVES:
            return self._alternatives(key, value, at, depth)
        if key == "allOf":
            branches = [self._schema(each, f"{at}/{n}", depth) for n, each in enumerate(_list(value, at))]
            return {key: restricting} if (restricting := [each for each in branches if each]) else {}
        if key == "prefixItems" or (key == "items" and isinstance(value, list)):
            made = [
                self._schema(each, f"{at}/{n}", depth) for n, each in enumerate(_list(value, at, may_be_empty=True))
            ]
            return {key: made} if made else {}
        if key == "items" or (key == "additionalProperties" and not isinstance(value, bool)):
            return {} if isinstance(value, bool) else {key: self._schema(value, at, depth)}
        return {key: _usable(key, value)} if _is_usable(key, value) else {}

    def _reference(self, value: Any, at: str) -> dict[str, Any]:
        target = self.references.plain_one(value, at)
        return {} if target is None else {"$ref": target}

    def _named(self, key: str, value: Any, at: str, depth: int) -> dict[str, Any]:
        if value is None and key != "properties":
            return {}
        if not isinstance(value, Mapping):
            raise UnusableSchema(at, "it has to be an object")
        made = {name: self._schema(each, f"{at}/{_escaped(name)}", depth) for name, each in value.items()}
        if key == "properties":
            # What must not be there is not shown.
            made = {name: each for name, each in made.items() if each != NEVER}
        return {key: made}

    def _alternatives(self, key: str, value: Any, at: str, depth: int) -> dict[str, Any]:
        given = _list(value, at)
        made = [self._schema(each, f"{at}/{n}", depth) for n, each in enumerate(given)]
        if any(each.keys() <= ANNOTATIONS for each in made):
            return {}  # anything is accepted
        possible = [typed for each in made if each != NEVER for typed in self._typed(each)]
        if not possible:
            return dict(NEVER)
        # Templates look at the type of the first.
        possible.sort(key=lambda each: "type" not in each)
        # A branch that accepts more than before could make two branches accept a value, and "oneOf" allows only one.
        return {key if possible == given else "anyOf": possible}

    def _typed(self, branch: dict[str, Any]) -> list[dict[str, Any]]:
        """Return ``branch`` as alternatives of one type each, as far as the types are known."""
        kinds = branch.get("type")
        if isinstance(kinds, list):
            return [{**branch, "type": kind} for kind in kinds]
        if kinds is not None:
            return [branch]
        kind = self._kind_of(branch)
        return [branch if kind is None else {**branch, "type": kind}]

    def _kind_of(self, branch: Mapping[str, Any]) -> str | None:
        """Return the type of all values that ``branch`` accepts, if there is a single known one."""
        if "$ref" in branch:
            target = self.references.targets[branch["$ref"]]
            kind = target.get("type") if isinstance(target, Mapping) else None
            return kind if isinstance(kind, str) else None
        values = branch.get("enum", [branch["const"]] if "const" in branch else [])
        kinds = {_KINDS.get(type(value)) for value in values}
        if kinds == {"integer", "number"}:
            return "number"
        return kinds.pop() if len(kinds) == 1 else None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _list(value: Any, at: str, *, may_be_empty: bool = False) -> list[Any]:
    if not isinstance(value, list) or not (value or may_be_empty):
        raise UnusableSchema(at, "it has to be a list of schemas that is not empty")
    return value


def _checked_type(value: Any, at: str) -> Any:
    kinds = value if isinstance(value, list) else [value]
    if not kinds:
        raise UnusableSchema(at, "it names no type")
    for kind in kinds:
        if not isinstance(kind, str) or kind not in TYPES:
            raise UnusableSchema(at, f"{kind!r} is none of {', '.join(sorted(TYPES))}")
    return value


def _bound_items(schema: Mapping[str, Any], made: dict[str, Any]) -> None:
    """Express ``"items": false`` as a number of items."""
    if schema.get("items") is False:
        before = made.get("prefixItems", [])
        made["maxItems"] = min(len(before), made.get("maxItems", len(before)))


def _settle_counts(made: dict[str, Any]) -> None:
    """Leave out contradictory counts: llama.cpp would fill the machine's memory with their grammar."""
    for least, most in LEAST_AND_MOST:
        if made.get(least, 0) > made.get(most, math.inf):
            del made[least], made[most]


def _usable(key: str, value: Any) -> Any:
    if key not in COUNTS:
        return value
    return min(int(value), MOST_REPEATED) if key in LEAST else int(value)


def _is_usable(key: str, value: Any) -> bool:
    """Whether a keyword without schemas can be kept unchanged."""
    is_fit = True
    if key in COUNTS:
        is_fit = _is_number(value) and value == int(value) and (value <= LARGEST_COUNT or key in LEAST) and value >= 0
    elif key in BOUNDS:
        is_fit = _is_number(value) and abs(value) <= EXACT
    elif key in {"enum", "required"}:
        is_fit = isinstance(value, list)
    elif key == "pattern":
        is_fit = isinstance(value, str) and _is_grammatical(value)
    elif key in OPAQUE:
        is_fit = not _refers(value)
    return is_fit and key not in DEPEND_ON_OTHERS and _is_sendable(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_grammatical(pattern: str) -> bool:
    """Whether a grammar can probably be made of ``pattern``: it is complete, and its repetitions are small."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Python may read in another way one day
        try:
            re.compile(pattern)
        except (re.error, OverflowError):
            return False
    return all(int(count or 0) <= MOST_REPEATED for found in _REPEATS.findall(pattern) for count in found)


def _refers(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "$ref" in value or any(_refers(each) for each in value.values())
    return isinstance(value, list) and any(_refers(each) for each in value)


def _is_sendable(value: Any) -> bool:
    """Whether every parser can read JSON of ``value``: whole numbers have at most 64 bits."""
    if isinstance(value, Mapping):
        return all(_is_sendable(each) for each in value.values())
    if isinstance(value, list):
        return all(_is_sendable(each) for each in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63
