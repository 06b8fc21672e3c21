"""The places that a registry entry names: ``${VAR}`` and ``~`` in them, and where the relative ones begin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from modelhost.config.variables import expand, problems_in
from modelhost.engines.adapters import split_name
from modelhost.engines.prompting import STOPS
from modelhost.models.registry_file import EntryFile

PLACES: Final = ("local_path", "weight_file", "python", "url", "base_url", "api_key")
"""Keys of an entry that are places, and the secret that goes with one."""
PARAM_PLACES: Final = ("lora", "draft_model", "mmproj", "chat_template")
"""The same of its ``params``."""


def anchored(text: str, directory: Path) -> Path:
    """Return the path ``text``, which may be relative to ``directory`` or begin with ``~``."""
    path = Path(text)
    with suppress(RuntimeError):  # of a user who is not known here: the path is missing, as any other
        path = path.expanduser()
    return directory / path


def anchored_adapter(text: str, directory: Path) -> str:
    """Return ``text``, one of the setting ``lora``, with its file as :func:`anchored` has it."""
    name, place = split_name(text)
    path = str(anchored(place, directory))
    return path if name is None else f"{name}={path}"


def is_template_text(value: Any) -> bool:
    """Whether a ``chat_template`` is the text itself: what has Jinja in it names no file."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def names_shipped_template(value: str, path: Path) -> bool:
    """Whether a ``chat_template`` names one that comes with modelhost, and no file that is there, at ``path``."""
    return value in STOPS and not path.is_file()


def placed(key: str, value: str, directory: Path) -> str:
    """Return the place ``value`` of ``key``, which may be relative to ``directory``, as a path.

    The text of a template stays, and so does the name of one that comes with modelhost.
    """
    path = anchored(value, directory)
    is_template = is_template_text(value) or (key == "chat_template" and names_shipped_template(value, path))
    return value if is_template else str(path)


def resolved(entry: EntryFile, variables: Mapping[str, str]) -> tuple[EntryFile, tuple[str, ...]]:
    """Return ``entry`` with the references in its places resolved, or as it is with a problem for each that stands for
    nothing."""
    given, of_params = _given(entry, PLACES), _given(entry.params, PARAM_PLACES)
    problems = (*_problems(given, variables, ""), *_problems(of_params, variables, "params."))
    if problems:
        return entry, problems
    update = expand(given, variables)
    if entry.params is not None:
        update["params"] = entry.params.model_copy(update=expand(of_params, variables))
    return entry.model_copy(update=update), ()


def _given(keys: BaseModel | None, names: Iterable[str]) -> dict[str, Any]:
    values = {name: getattr(keys, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None and not is_template_text(value)}


def _problems(given: Mapping[str, Any], variables: Mapping[str, str], prefix: str) -> Iterator[str]:
    for name, value in given.items():
        yield from problems_in(value, variables, f'"{prefix}{name}"')
