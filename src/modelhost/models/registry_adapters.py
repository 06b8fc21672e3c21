"""Adapters by name in the registry, ``{NAME: FILE}`` or ``{NAME: {path: FILE, scale: 0.5}}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import PydanticCustomError

from modelhost.config.check import WHOLE_SENTENCE
from modelhost.engines.adapters import NAME

KEYS: Final = frozenset({"path", "scale"})


def as_entries(value: Any) -> Any:
    """Return adapters by name as the texts that the setting ``lora`` has; anything else as it is.

    Raises:
        PydanticCustomError: a name or what it stands for is none.
    """
    if not isinstance(value, Mapping):
        return value
    return [_entry(name, each) for name, each in value.items()]


def _entry(name: Any, value: Any) -> str:
    where = f'"params.lora.{name}"'
    if not isinstance(name, str) or re.fullmatch(NAME, name) is None:
        raise _problem(f"{where}: the name of an adapter has letters, digits, dots, dashes and underscores alone")
    if isinstance(value, str) and value:
        return f"{name}={value}"
    if not isinstance(value, Mapping):
        raise _problem(f"{where}: expected a file, or its path and scale")
    if unknown := sorted(str(key) for key in value.keys() - KEYS):
        raise _problem(f'{where}: unknown key "{unknown[0]}"; there are path and scale')
    path, scale = value.get("path"), value.get("scale")
    if not isinstance(path, str) or not path:
        raise _problem(f'{where}: "path" is missing, or no text')
    if scale is None:
        return f"{name}={path}"
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise _problem(f'{where}: "scale" has to be a number')
    return f"{name}={path}:{float(scale)}"


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError(WHOLE_SENTENCE, "{reason}", {"reason": text})
