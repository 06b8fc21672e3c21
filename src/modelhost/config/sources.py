"""The effective configuration: default < file < ``.env`` < environment < flag, with the origin of every value.

Settings that name another file (a registry of models, MCP servers) default to the file of the usual name in the
working directory, if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modelhost.config import environment, fields, file
from modelhost.config.checks import config_error, find_problems, suggestion
from modelhost.config.environment import read_dotenv_settings
from modelhost.config.file import DEFAULT_FILES, default_files_in
from modelhost.config.llm_server import LlmServerFile
from modelhost.config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveConfig:
    """The configuration of a host. ``origins`` has an entry for every setting; ``warnings`` are for the user."""

    settings: Settings
    origins: Mapping[str, fields.Origin]
    file: Path | None = None
    warnings: tuple[str, ...] = ()
    read_again: Callable[[], EffectiveConfig] | None = field(default=None, compare=False, repr=False)
    """Reads all sources again; raises as the first read does."""


def load(
    flags: Mapping[str, Any],
    *,
    config_path: Path | LlmServerFile | None,
    environ: Mapping[str, str],
    cwd: Path,
    default_files: Collection[str] = tuple(DEFAULT_FILES),
) -> EffectiveConfig:
    """Read and merge all sources. ``flags`` maps keys to text or typed values; ``None`` means not given.

    ``default_files`` are the settings whose default file in ``cwd`` is used when no source names one; with a file of
    LLM-Server there are none.

    Raises:
        ConfigError: with all problems of all sources, even of overridden values. Its detail ``log_file`` is the log
            file, if that is known.
    """
    is_llm_server = isinstance(config_path, LlmServerFile)
    config_path = config_path.path if isinstance(config_path, LlmServerFile) else config_path
    dotenv = read_dotenv_settings(cwd)
    path = file.find(config_path, environ=dotenv.merged_with(environ), cwd=cwd, is_llm_server=is_llm_server)
    readings = [] if path is None else [file.read(path, cwd=cwd, environ=environ, is_llm_server=is_llm_server)]
    reading = fields.merge([*readings, dotenv.values(), environment.read(environ), _read_flags(flags)])
    problems = [*reading.problems, *(problem for given in reading.given for problem in find_problems(given))]
    if problems:
        raise config_error(problems, what="the configuration", log_file=_log_file(reading))
    winning = {given.setting.key: given for given in reading.given}
    looked_for = default_files if reading.takes_default_files else ()
    for given in default_files_in(cwd, [key for key in looked_for if key not in winning]):
        winning[given.setting.key] = given
    return EffectiveConfig(
        settings=Settings.model_validate({key: given.value for key, given in winning.items()}),
        origins=MappingProxyType(
            {key: winning[key].origin if key in winning else fields.DEFAULT for key in fields.SETTINGS}
        ),
        file=path,
        warnings=tuple(dict.fromkeys(reading.warnings)),  # two sources may read the same `.env`
    )


def _log_file(reading: fields.SourceValues) -> str | None:
    files = [given.value for given in reading.given if given.setting.key == "log_file" and not find_problems(given)]
    return files[-1] if files else None


def _read_flags(flags: Mapping[str, Any]) -> fields.SourceValues:
    given, problems = [], []
    for key, value in flags.items():
        if key not in fields.SETTINGS:
            problems.append(f'unknown setting "{key}"{suggestion(key, fields.SETTINGS)}')
        elif value is not None:
            setting = fields.SETTINGS[key]
            origin = fields.Origin(kind="flag", name=setting.flags[0])
            try:
                typed = _typed(setting, value)
            except ValueError as error:
                problems.append(f"{origin.name}: {error}")
            else:
                given.append(fields.GivenValue(setting=setting, value=typed, origin=origin, label=origin.name))
    return fields.SourceValues(given=tuple(given), problems=tuple(problems))


def _typed(setting: fields.Setting, value: Any) -> Any:
    """Convert the ``value`` of a flag to the type of its setting: repeated flags are a list, text is parsed."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if setting.kind == "list":
        return tuple(value) if isinstance(value, list | tuple) else (value,)
    if setting.kind == "mapping" and isinstance(value, list | tuple):
        return fields.parse_pairs(value)
    return fields.parse_scalar(setting, value) if isinstance(value, str) else value
