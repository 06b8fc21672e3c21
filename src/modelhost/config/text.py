"""Text from the environment or the command line, brought to the type that a setting has.

Text that does not fit stays text: the check that follows says what was expected, in one wording for all sources.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from modelhost.config.booleans import BOOLEANS
from modelhost.config.fields import Kind, Setting

_CONVERTERS: Final[Mapping[Kind, Callable[[str], Any]]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: BOOLEANS[text.strip().lower()],
}


def scalar(setting: Setting, text: str) -> Any:
    """The integer, number or boolean that ``text`` is; ``text`` itself where it is none or the setting takes text."""
    convert = _CONVERTERS.get(setting.kind)
    if convert is None:
        return text
    try:
        return convert(text)
    except (KeyError, ValueError):
        return text


def from_variable(setting: Setting, text: str) -> Any:
    """A whole environment value: lists as ``a,b`` or JSON, mappings as ``k=v,k=v`` or JSON.

    Raises:
        ValueError: JSON that is broken, or a pair without ``=``; the message is the end of a sentence.
    """
    if setting.kind == "list":
        return tuple(_json(text)) if text.lstrip().startswith("[") else tuple(_split(text))
    if setting.kind == "mapping":
        return _json(text) if text.lstrip().startswith("{") else _pairs_of(setting, text)
    return scalar(setting, text)


def _pairs_of(setting: Setting, text: str) -> dict[str, str]:
    try:
        return pairs(_split(text))
    except ValueError:
        if setting.is_secret:
            raise ValueError("expected key=value") from None
        raise


def pairs(items: Iterable[str]) -> dict[str, str]:
    """``["a=1", "b=2"]`` as a mapping.

    Raises:
        ValueError: an item without ``=``; the message is the end of a sentence.
    """
    found: dict[str, str] = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator or not key.strip():
            raise ValueError(f'expected key=value, got "{item}"')
        found[key.strip()] = value.strip()
    return found


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError:
        raise ValueError("broken JSON: nested too deep") from None
