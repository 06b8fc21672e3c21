"""Checks a given value against ``Settings`` and says what is wrong with it in one clear sentence."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from modelhost.config.fields import Setting
from modelhost.config.origins import Given
from modelhost.config.settings import Settings

# Keys are pydantic's stable error types: https://docs.pydantic.dev/latest/errors/validation_errors/
_EXPECTED: Final[Mapping[str, str]] = {
    "int_type": "expected an integer",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "tuple_type": "expected a list",
    "dict_type": "expected keys and values",
}
_LIMITS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("must be greater than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
}
_EMPTY: Final = ("too_short", "string_too_short")


def problems_of(given: Given) -> list[str]:
    """Everything that is wrong with one given value; empty when it is fine. Secrets are not repeated."""
    try:
        # Every setting has a default, so that one value can be checked alone. Strict: `port: true` is not port 1.
        Settings.model_validate({given.setting.key: given.value}, strict=True)
    except ValidationError as error:
        return [_sentence(given, detail) for detail in error.errors()]
    return []


def suggestion(name: str, known: Iterable[str], *, show: Callable[[str], str] = str) -> str:
    """``; did you mean "port"?`` for the closest of ``known``, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{show(close[0])}"?' if close else ""


def _sentence(given: Given, detail: Mapping[str, Any]) -> str:
    kind, value, place = detail["type"], detail["input"], detail["loc"][1:]
    item = f", item {place[0] + 1}" if place and isinstance(place[0], int) else ""
    if kind in _EMPTY:
        return f"{given.label}{item}: must not be empty"
    return f"{given.label}{item}: {_expectation(given.setting, detail)}{_got(given.setting, value)}"


def _expectation(setting: Setting, detail: Mapping[str, Any]) -> str:
    kind = detail["type"]
    if kind == "literal_error":
        return f"expected one of {', '.join(setting.choices)}"
    if kind in _LIMITS:
        words, bound = _LIMITS[kind]
        return f"{words} {detail['ctx'][bound]:g}"
    return _EXPECTED.get(kind) or str(detail["msg"])


def _got(setting: Setting, value: Any) -> str:
    if setting.is_secret:
        return ""
    if value is None:
        return ", got nothing"
    hint = suggestion(value, setting.choices) if isinstance(value, str) else ""
    return f", got {json.dumps(value, default=str, ensure_ascii=False)}{hint}"
