"""``${VAR}``, ``${VAR:-default}`` and ``${env:VAR}`` in the values of a file."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any, Final

from dotenv import dotenv_values

_REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}")
_NAME: Final = re.compile(r"(?:env:)?([A-Za-z_]\w*)(?::-(.*))?", re.ASCII | re.DOTALL)


class UnresolvedVariableError(ValueError):
    """A reference that stands for nothing; the message names it, and is the end of a sentence."""


def expand(value: Any, variables: Mapping[str, str]) -> Any:
    """``value`` with the references in all of its text resolved. An empty variable counts as not set.

    Raises:
        UnresolvedVariableError: a variable is not set and has no default, or it is a reference of another kind.
    """
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: _resolved(found, variables), value)
    if isinstance(value, list):
        return [expand(each, variables) for each in value]
    if isinstance(value, dict):
        return {key: expand(each, variables) for key, each in value.items()}
    return value


def parse_dotenv(content: bytes) -> dict[str, str]:
    """The variables of a ``.env`` file.

    Raises:
        ValueError: it is not UTF-8 text.
    """
    # Without interpolation: python-dotenv would read the process environment for it.
    found = dotenv_values(stream=io.StringIO(content.decode()), interpolate=False)
    return {name: text for name, text in found.items() if text is not None}


def _resolved(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name = _NAME.fullmatch(found[1])
    if name is None:
        raise UnresolvedVariableError(f"${{{found[1]}}} is no environment variable; write ${{NAME}}")
    text = variables.get(name[1]) or name[2]
    if text is None:
        raise UnresolvedVariableError(f"the environment variable {name[1]} is not set, nor is it in .env")
    return text
