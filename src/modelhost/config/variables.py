"""``${VAR}``, ``${VAR:-default}``, ``${env:VAR}`` and opencode's ``{env:VAR}`` in the values of a file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from modelhost import lazy
from modelhost.config.paths import broken_link

DOTENV: Final[Literal[".env"]] = ".env"
# Without a dollar sign only in opencode's form, since other text may be in braces.
_REFERENCE: Final = re.compile(r"\$?\{((?<=\$\{)[^{}]*|env:[A-Za-z_]\w*)\}", re.ASCII)
_NAME: Final = re.compile(r"(?:env:)?([A-Za-z_]\w*)(?::-(.*))?", re.ASCII | re.DOTALL)


class UnresolvedVariableError(ValueError):
    """A reference that cannot be resolved; the message names it, and ends a sentence."""


def expand(value: Any, variables: Mapping[str, str]) -> Any:
    """Return ``value`` with the references in its texts resolved. Empty variables count as not set.

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
    """Parse the variables of a ``.env`` file; raises ValueError if it is not UTF-8 text."""
    # Without interpolation: python-dotenv would read the process environment for it.
    found = lazy.dotenv.dotenv_values(stream=io.StringIO(content.decode("utf-8-sig")), interpolate=False)
    return {name: text for name, text in found.items() if text is not None}


def read_dotenv(path: Path) -> tuple[dict[str, str], str | None]:
    """Return the variables of the ``.env`` file at ``path`` (none without a file), and why it is ignored, if it is."""
    try:
        return parse_dotenv(path.read_bytes()), None
    except FileNotFoundError:
        nowhere = broken_link(path)
        return {}, f"{path} is ignored: {nowhere}" if nowhere else None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        return {}, f"{path} is ignored: {reason}"


def available(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> dict[str, str]:
    """Merge the variables for references: the environment overrides ``.env``."""
    return {**dotenv, **{name: text for name, text in environ.items() if text}}


def referenced(value: Any) -> Iterator[str]:
    """Yield the names of all variables that the texts in ``value`` refer to, with repetitions."""
    if isinstance(value, str):
        for found in _REFERENCE.finditer(value):
            if name := _NAME.fullmatch(found[1]):
                yield name[1]
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from referenced(each)


def problems_in(value: Any, variables: Mapping[str, str], place: str) -> Iterator[str]:
    """Yield a sentence, which begins with the place, for each text in ``value`` that :func:`expand` refuses."""
    if isinstance(value, str):
        try:
            expand(value, variables)
        except UnresolvedVariableError as error:
            yield f"{place}: {error}"
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from problems_in(each, variables, f"{place}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from problems_in(each, variables, f"{place}[{number}]")


def _resolved(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name = _NAME.fullmatch(found[1])
    if name is None:
        raise UnresolvedVariableError(f"${{{found[1]}}} is no environment variable; write ${{NAME}}")
    text = variables.get(name[1]) or name[2]
    if text is None:
        raise UnresolvedVariableError(f"the environment variable {name[1]} is not set, nor is it in .env")
    return text
