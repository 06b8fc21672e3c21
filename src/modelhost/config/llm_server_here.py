"""LLM-Server's ``config.json`` in the working directory: a host that is told nothing else takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelhost.config.document import read_content
from modelhost.config.environment import CONFIG_VARIABLE, OTHER_NAMES, read_settings_of
from modelhost.config.fields import SETTINGS
from modelhost.config.file import DEFAULT_FILES, DEFAULT_NAMES
from modelhost.config.llm_server import DEFAULT_NAME, MARKS
from modelhost.config.paths import is_named

LEAST_MARKS: Final = 2
"""The ``config.json`` of a model may well have one of the keys, such as ``model_name``."""


def is_here(cwd: Path) -> bool:
    """Whether ``cwd`` holds such a file. One that is broken counts too: its reader says what is wrong with it."""
    path = cwd / DEFAULT_NAME
    if not path.is_file():
        return False
    try:
        text = read_content(path).decode("utf-8", "replace")
    except ValueError:
        return False
    spellings = (mark.replace("_", "[ _]") for mark in MARKS)
    return sum(bool(re.search(rf"""\b{mark}["']?\s*:""", text)) for mark in spellings) >= LEAST_MARKS


def what_else_is_said(flags: Mapping[str, Any], *, environ: Mapping[str, str], cwd: Path) -> str | None:
    """What says how to serve, apart from such a file, as the beginning of a sentence; ``None``: nothing does.

    That is a setting on the command line, a model or a configuration in the environment, or a file of ours.
    """
    given = [SETTINGS[key].flags[0] for key, value in flags.items() if value is not None]
    if given:
        return f"{given[0]} is given"
    variables = read_settings_of(cwd).below(environ)
    named = [name for name in _naming_models() if variables.get(name, "").strip()]
    if named:
        return f"{named[0]} is set"
    here = [name for name in (*DEFAULT_NAMES, *DEFAULT_FILES["models_config"]) if is_named(cwd / name)]
    return f"{here[0]} is here" if here else None


def _naming_models() -> list[str]:
    keys = ("model", "models_config")
    others = [name for name, other in OTHER_NAMES.items() if other.key in keys]
    return [CONFIG_VARIABLE, *(SETTINGS[key].environment for key in keys), *others]
