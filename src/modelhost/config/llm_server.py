"""Reads LLM-Server's ``config.json`` as settings of a host.

Its keys are written as in LLM-Server (``"model name"``) or with underscores (``model_name``), and all are required.
Settings without such a key may be given under their own names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from modelhost.config.checks import suggestion, validate
from modelhost.config.fields import SETTINGS, GivenValue, Origin, SourceValues
from modelhost.config.request_defaults import RequestDefaults
from modelhost.config.variables import DOTENV, available, expand, problems_in, read_dotenv

DEFAULT_NAME: Final = "config.json"
AS_SETTING: Final[Mapping[str, str]] = {
    "model name": "model",
    "listening port": "port",
    "system prompt": "system_prompt",
    "log level": "log_level",
    "log filename": "log_file",
}
"""Keys that map to a setting of another name."""
REQUEST_DEFAULTS: Final = ("temperature", "top_p", "min_p", "min_tokens_to_keep")
"""Keys that map to the request field of the same name."""
NEUTRAL: Final[Mapping[str, int]] = {"min_tokens_to_keep": 1}
"""Values that are the default of every engine, so that engines without the parameter accept them."""
SERVERS: Final = "servers"
REQUIRED: Final = (
    *("model name", "listening port", SERVERS, "system prompt"),
    *(*REQUEST_DEFAULTS, "log level", "log filename"),
)
RENAMED_SETTINGS: Final = frozenset({*AS_SETTING.values(), "request_defaults", "mcp_config"})
"""Settings that other keys of the file set, and which it therefore cannot set by their own names."""
DISTINCTIVE_KEYS: Final = frozenset({"model_name", "listening_port", "log_filename", "min_tokens_to_keep"})
"""Keys, with underscores, that occur in no other kind of file."""
LEVEL: Final = "log level"
LOG_LEVELS: Final[Mapping[str, str]] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "critical": "error",
}
"""The log levels of the file and ours."""
PRESETS: Final[Mapping[str, Any]] = {
    "wait_for_tools": "ready",  # the servers are started before the model is loaded
    "log_prompts": True,  # requests and answers are logged
    "strict_prompts": True,  # there are no other statuses
    "shutdown_timeout": 600.0,  # requests in flight are completed: as long as an answer with tools may take
}
"""Further settings that LLM-Server's behaviour requires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    """One value with its variables expanded, and its place in the file."""

    label: str
    value: Any
    had_variable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmServerFile:
    """A file to be read as one of LLM-Server whatever its content; without a path, the one of the default name."""

    path: Path | None = None


def is_llm_server_file(document: Mapping[Any, Any]) -> bool:
    """Whether ``document`` is such a file, judging by its keys."""
    return any(_twin(key) in DISTINCTIVE_KEYS for key in document)


def read(document: Mapping[Any, Any], path: Path, *, directory: Path, environ: Mapping[str, str]) -> SourceValues:
    """Read the file at ``path``; ``${VAR}`` comes from ``environ``, then from ``.env`` in ``directory``.

    Among the problems are missing, unknown and duplicate keys, unset variables, and sampling values out of range.
    Secrets are not repeated.
    """
    dotenv, ignored = read_dotenv(directory / DOTENV)
    variables = available(environ, dotenv)
    spelled, problems = _spelled(document)
    problems = [f"{path}: {problem}" for problem in (*problems, *_missing(spelled), *_unknown(spelled))]
    values: dict[str, _Value] = {}
    for key, (written, value) in spelled.items():
        label = f'{path}: "{written}"'
        unresolved = list(problems_in(value, variables, label))
        problems += unresolved
        if not unresolved:
            expanded = expand(value, variables)
            values[key] = _Value(label=label, value=expanded, had_variable=expanded != value)
    given = [*_presets(path), *_settings(values, path)]
    defaults, out_of_range = _request_defaults(values, path)
    problems += [*out_of_range, *_unknown_level(values)]
    if defaults is not None:
        given.append(defaults)
    if SERVERS in values and values[SERVERS].value:
        # The file itself has the shape of `mcp.json`; read there, its secrets stay where they are.
        given.append(_given("mcp_config", _Value(label=str(path), value=str(path), had_variable=False), path))
    return SourceValues(
        given=tuple(given),
        problems=tuple(problems),
        warnings=(ignored,) if ignored else (),
        takes_default_files=False,
    )


def _twin(key: object) -> str:
    return str(key).replace(" ", "_")


FIRST_SPELLING: Final[Mapping[str, str]] = {_twin(key): key for key in REQUIRED}


def _spelled(document: Mapping[Any, Any]) -> tuple[dict[str, tuple[str, Any]], list[str]]:
    """Return the values under the first spelling of each key, with the key as written; ``null`` counts as absent."""
    found: dict[str, tuple[str, Any]] = {}
    problems = []
    for written, value in document.items():
        key = FIRST_SPELLING.get(_twin(written), str(written))
        if key in found:
            problems.append(f'"{found[key][0]}" and "{written}" are two spellings of one key; keep one')
        elif value is not None:
            found[key] = (str(written), value)
    return found, problems


def _missing(spelled: Mapping[str, Any]) -> Iterator[str]:
    for key in REQUIRED:
        if key not in spelled:
            yield f'"{key}" is missing{"; write {} for none" if key == SERVERS else ""}'


def _unknown(spelled: Mapping[str, tuple[str, Any]]) -> Iterator[str]:
    own = [key for key in SETTINGS if key not in RENAMED_SETTINGS]
    for key, (written, _) in spelled.items():
        if key in RENAMED_SETTINGS:
            names = [name for name, setting in AS_SETTING.items() if setting == key]
            yield f'"{written}" has another name in this file: {_quoted(names or [SERVERS, *REQUEST_DEFAULTS])}'
        elif key not in REQUIRED and key not in SETTINGS:
            yield f'unknown key "{written}"{suggestion(written, [*REQUIRED, *own])}'


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _presets(path: Path) -> Iterator[GivenValue]:
    for key, value in PRESETS.items():
        yield _given(key, _Value(label=str(path), value=value, had_variable=False), path)


def _settings(values: Mapping[str, _Value], path: Path) -> Iterator[GivenValue]:
    for key, value in values.items():
        if key == LEVEL:
            if isinstance(value.value, str) and value.value.lower() in LOG_LEVELS:
                yield _given(AS_SETTING[key], replace(value, value=LOG_LEVELS[value.value.lower()]), path)
        elif key in AS_SETTING:
            yield _given(AS_SETTING[key], value, path)
        elif key in SETTINGS and key not in RENAMED_SETTINGS:
            yield _given(key, value, path)


def _unknown_level(values: Mapping[str, _Value]) -> Iterator[str]:
    given = values.get(LEVEL)
    if given is not None and str(given.value).lower() not in LOG_LEVELS:
        said = "what its variable holds is none" if given.had_variable else f"got {json.dumps(given.value)}"
        yield f"{given.label}: expected one of {', '.join(LOG_LEVELS)}; {said}"


def _given(key: str, value: _Value, path: Path) -> GivenValue:
    setting = SETTINGS[key]
    if value.had_variable:  # the variable may hold a secret, which no message may repeat
        setting = replace(setting, is_secret=True)
    typed = value.value
    if value.had_variable and setting.kind in ("integer", "number", "boolean"):
        typed = _number(typed)
    if setting.kind == "list" and isinstance(typed, str | list):
        typed = (typed,) if isinstance(typed, str) else tuple(typed)
    return GivenValue(setting=setting, value=typed, origin=Origin(kind="file", name=str(path)), label=value.label)


def _number(text: Any) -> Any:
    """Parse the text of a variable as a number where one is expected."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text


def _request_defaults(values: Mapping[str, _Value], path: Path) -> tuple[GivenValue | None, list[str]]:
    found: dict[str, Any] = {}
    problems: list[str] = []
    for key in REQUEST_DEFAULTS:
        if key in values:
            given = values[key]
            found[key] = _number(given.value) if given.had_variable else given.value
            _, wrong = validate(RequestDefaults, {key: found[key]}, label=str(path))
            if wrong and given.had_variable:
                wrong = [f"{given.label}: what its variable holds is no value for it"]  # and may be a secret
            problems += wrong
    if problems or not found:
        return None, problems
    wanted = {key: value for key, value in found.items() if NEUTRAL.get(key) != value}
    return _given("request_defaults", _Value(label=str(path), value=wanted, had_variable=False), path), []
