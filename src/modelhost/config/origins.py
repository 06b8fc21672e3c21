"""Where a value came from, and what one source (file, environment, flags) had to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from modelhost.config.fields import Setting

OriginKind = Literal["default", "default file", "file", ".env", "environment", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """``name`` is the file's path, the variable or the flag; empty for a default.

    ``.env``: the variable stands in the file of that name in the working directory. ``default file``: the value is
    itself a file that was found where it is looked for when nobody names one.
    """

    kind: OriginKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


DEFAULT = Origin(kind="default")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value that a source gave, already of its Python type, not yet checked. ``label`` names it in messages."""

    setting: Setting
    value: Any
    origin: Origin
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one source said: values, problems that make the configuration invalid, and warnings that do not."""

    given: tuple[Given, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    takes_default_files: bool = True
    """Whether files of the usual names are looked for beside it (:mod:`modelhost.config.default_files`)."""


def joined(readings: Iterable[Reading]) -> Reading:
    """One reading of several, in their order: a later value of the same setting wins when they are applied."""
    parts = list(readings)
    return Reading(
        given=tuple(given for part in parts for given in part.given),
        problems=tuple(problem for part in parts for problem in part.problems),
        warnings=tuple(warning for part in parts for warning in part.warnings),
        takes_default_files=all(part.takes_default_files for part in parts),
    )
