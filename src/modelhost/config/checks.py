"""Validates values against ``Settings`` or another pydantic model, and describes problems in clear sentences."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from modelhost.config.alerts import WHOLE_SENTENCE
from modelhost.config.fields import GivenValue
from modelhost.config.settings import Settings
from modelhost.errors import ConfigError

# Keys are pydantic's stable error types: https://docs.pydantic.dev/latest/errors/validation_errors/
_EXPECTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "expected an integer"),
    **dict.fromkeys(("float_type", "float_parsing"), "expected a number"),
    "finite_number": "expected a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
    "string_type": "expected text",
    **dict.fromkeys(("tuple_type", "list_type"), "expected a list"),
    **dict.fromkeys(("dict_type", "model_type"), "expected keys and values"),
}
_LIMITS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("must be greater than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
}
_EMPTY: Final = ("too_short", "string_too_short")


def find_problems(given: GivenValue) -> list[str]:
    """Return all problems of one given value, without repeating secrets."""
    try:
        # Every setting has a default, so that one value can be checked alone. Strict: `port: true` is not port 1.
        Settings.model_validate({given.setting.key: given.value}, strict=True)
    except ValidationError as error:
        return [_sentence(given, detail) for detail in error.errors()]
    return []


def suggestion(name: str, known: Iterable[str], *, show: Callable[[str], str] = str) -> str:
    """Return ``; did you mean "port"?`` with the closest of ``known``, or an empty text when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{show(close[0])}"?' if close else ""


def config_error(problems: Sequence[str], *, what: str, **details: Any) -> ConfigError:
    """Return one error with all ``problems`` of ``what``."""
    if len(problems) == 1:
        return ConfigError(problems[0], problems=list(problems), **details)
    listed = "".join(f"\n  {problem}" for problem in problems)
    return ConfigError(f"{what} has {len(problems)} problems:{listed}", problems=list(problems), **details)


def explain_error(detail: Mapping[str, Any], *, is_secret: bool = False) -> str:
    """Return the end of a sentence that describes one of pydantic's errors, without repeating a secret."""
    if detail["type"] in _EMPTY:
        return "must not be empty"
    if detail["type"] == WHOLE_SENTENCE:
        return str(detail["msg"])
    choices = _choices(detail)
    return f"{_expectation(detail, choices)}{'' if is_secret else _got(detail['input'], choices)}"


def _sentence(given: GivenValue, detail: Mapping[str, Any]) -> str:
    place = detail["loc"][1:]
    item = f", item {place[0] + 1}" if place and isinstance(place[0], int) else ""
    return f"{given.label}{item}: {explain_error(detail, is_secret=given.setting.is_secret)}"


def _choices(detail: Mapping[str, Any]) -> list[str]:
    """Return the values of a literal, which pydantic lists as ``'a', 'b' or 'c'``."""
    return re.findall(r"'([^']*)'", detail["ctx"]["expected"]) if detail["type"] == "literal_error" else []


def _expectation(detail: Mapping[str, Any], choices: Sequence[str]) -> str:
    kind = detail["type"]
    if choices:
        return f"expected one of {', '.join(choices)}"
    if kind in _LIMITS:
        words, bound = _LIMITS[kind]
        return f"{words} {detail['ctx'][bound]:g}"
    return _EXPECTED.get(kind) or str(detail["msg"])


def _got(value: Any, choices: Sequence[str]) -> str:
    if value is None:
        return ", got nothing"
    hint = suggestion(value, choices) if isinstance(value, str) else ""
    return f", got {json.dumps(value, default=str, ensure_ascii=False)}{hint}"


Model = TypeVar("Model", bound=BaseModel)


def validate(schema: type[Model], value: Any, *, label: str) -> tuple[Model | None, list[str]]:
    """Return ``value`` as a ``schema``, or its problems, each a sentence that begins with ``label``.

    Validation is strict: text is no number, and unknown keys are problems if ``schema`` forbids extra ones.
    """
    try:
        return schema.model_validate(value, strict=True), []
    except ValidationError as error:
        return None, list(dict.fromkeys(f"{label}: {_sentence_about(schema, detail)}" for detail in error.errors()))


def _sentence_about(schema: type[BaseModel], detail: Mapping[str, Any]) -> str:
    place = detail["loc"]
    if not place:
        return explain_error(detail)
    if detail["type"] == "missing":
        return f'"{_path(place)}" is missing'
    if detail["type"] in {"extra_forbidden", "invalid_key"}:
        within = f' in "{_path(place[:-1])}"' if place[:-1] else ""
        return f'unknown key "{place[-1]}"{within}{_hint(str(place[-1]), _schema_at(schema, place[:-1]))}'
    return f'"{_path(place)}": {explain_error(detail)}'


def _path(place: Iterable[str | int]) -> str:
    """Format ``("params", "stop", 0)`` as ``params.stop[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _hint(key: str, schema: type[BaseModel] | None) -> str:
    """Return where the unknown ``key`` belongs, or the known key closest to it."""
    if schema is None:
        return ""
    for name, field in schema.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None and key in inner.model_fields:
            return f'; it belongs in "{name}"'
    return suggestion(key, schema.model_fields)


def _schema_at(schema: type[BaseModel], place: Iterable[str | int]) -> type[BaseModel] | None:
    """Return the model of the mapping at ``place``."""
    found: type[BaseModel] | None = schema
    for part in place:
        if isinstance(part, str) and found is not None:
            found = _model_in(found.model_fields[part].annotation)
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in ``Model``, ``Model | None`` or ``list[Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
