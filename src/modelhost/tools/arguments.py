"""The arguments of a call, read and checked before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from jsonschema import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from modelhost import json_text, patterns

MAX_DEPTH: Final = 200  # as many as are read of what a model writes; a message to a server can hold 255
MAX_PROBLEMS: Final = 5  # a model mends these first; a long list is lost on it
MAX_PROBLEM_LENGTH: Final = 300  # such a sentence repeats the value, which may be a whole file


def read_arguments(given: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return the arguments that a model wrote; empty text means none.

    Raises:
        ValueError: they are not a JSON object; the message is for the model.
    """
    if not isinstance(given, str):
        if _depth(given) > MAX_DEPTH:
            raise ValueError(f"the arguments are nested deeper than {MAX_DEPTH} levels")
        return dict(given)
    if not given.strip():
        return {}
    try:
        found = json_text.decode(given)
    except ValueError as error:
        raise ValueError(f"the arguments are not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("the arguments are not a JSON object")  # noqa: TRY004  (a ValueError by contract)
    return found


def _depth(value: Any) -> int:
    """Return the levels of objects and lists in ``value``, counted up to one beyond :data:`MAX_DEPTH`."""
    level, depth = [value], 0
    while depth <= MAX_DEPTH and (level := [each for each in level if isinstance(each, Mapping | list)]):
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, Mapping) else each)]
    return depth


class ArgumentCheck:
    """Checks arguments against the schema of one tool, compiled once, when first needed."""

    def __init__(self, schema: dict[str, Any], *, checks_formats: bool = False) -> None:
        """``checks_formats``: whether ``format`` (an email address, a date) is enforced."""
        self._schema = schema
        self._checks_formats = checks_formats
        self._validator: Validator | None = None
        self._is_compiled = False

    def problems(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with ``arguments``, in sentences for the model; nothing if the schema cannot be used.

        With an invalid schema the check is left to the server.
        """
        if not self._is_compiled:
            self._validator = _compiled(self._schema, checks_formats=self._checks_formats)
            self._is_compiled = True
        if self._validator is None:
            return []
        try:
            found = list(islice(self._validator.iter_errors(arguments), MAX_PROBLEMS))
        except Unresolvable:
            return []  # a reference to another document: none is fetched
        except patterns.TooSlow as error:
            return [str(error)]
        return [f"{_place(error.absolute_path)}{_shortened(error.message)}" for error in found]


REMARKS: Final = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
"""Keywords that constrain no value."""


def fault_in(schema: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return where a schema is invalid, and why; ``None`` if it is valid."""
    if not isinstance(schema.get("$schema", ""), str):
        return "#/$schema", "it has to be a text"
    kind = validator_for(schema, default=Draft202012Validator)
    for error in kind(kind.META_SCHEMA).iter_errors(schema):
        path = [str(part) for part in error.absolute_path]
        if not path or path[-1] not in REMARKS:
            return "/".join(("#", *path)), _shortened(error.message)
    return None


def _compiled(schema: dict[str, Any], *, checks_formats: bool) -> Validator | None:
    try:
        known = validator_for(schema, default=Draft202012Validator)
        known.check_schema(schema)
    except (SchemaError, AttributeError, TypeError):  # the last two of a "$schema" that is no text
        return None
    kind: type[Validator] = extend(known, OF_PATTERNS)  # type: ignore[no-untyped-call]
    # A registry of our own: with the default one a "$ref" to an address is fetched. (mypy does not know its argument.)
    registry: Registry[Any] = Registry(retrieve=_anything)  # type: ignore[call-arg]
    return kind(schema, registry=registry, format_checker=kind.FORMAT_CHECKER if checks_formats else None)


def _pattern(validator: Any, wanted: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "string") and not patterns.search(wanted, value):
        yield ValidationError(f"{value!r} does not match {wanted!r}")


def _pattern_properties(
    validator: Any, wanted: Mapping[str, Any], value: Any, _schema: Any
) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        for pattern, schema in wanted.items():
            for name in (name for name in value if patterns.search(pattern, name)):
                yield from validator.descend(value[name], schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, wanted: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    named, known = schema.get("properties", {}), schema.get("patternProperties", ())
    rest = [name for name in value if name not in named and not any(patterns.search(each, name) for each in known)]
    for name in rest:
        if wanted is False:
            yield ValidationError(f"Additional properties are not allowed ({name!r} was unexpected)")
        else:
            yield from validator.descend(value[name], wanted, path=name)


OF_PATTERNS: Final[Mapping[str, Any]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
"""The keywords for which jsonschema uses Python's own regular expressions, which cannot be interrupted."""


def _anything(_address: str) -> Resource[Any]:
    """Return the schema that stands for another document, which is not fetched: it accepts everything."""
    return DRAFT202012.create_resource({})


def _place(path: Any) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return f'"{"".join(parts).lstrip(".")}": ' if parts else ""


def _shortened(message: str) -> str:
    if len(message) <= MAX_PROBLEM_LENGTH:
        return message
    half = MAX_PROBLEM_LENGTH // 2  # the problem stands at the end
    return f"{message[:half]} ... {message[-half:]}"
