"""The process environment and ``.env``: the only place where the environment is read, and all known variables.

``.env`` in the working directory is a source of settings between the environment, which overrides it, and the file.
Unknown variables in it are ignored: they may be meant for other programs, or for ``${NAME}`` in a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from modelhost.config import fields
from modelhost.config.checks import suggestion
from modelhost.config.value_types import LogLevel
from modelhost.config.variables import DOTENV, read_dotenv
from modelhost.config.vllm_environment import VARIABLES

RUST_LOG: Final = "RUST_LOG"
RUST_LEVELS: Final[Mapping[str, LogLevel]] = {
    "off": "error",  # errors are always logged
    "error": "error",
    "warn": "warning",
    "warning": "warning",
    "info": "info",
    "debug": "debug",
    "trace": "debug",
}
"""Levels of programs in Rust, and what they are called here."""


def read_rust_log(text: str) -> tuple[LogLevel | None, str | None]:
    """Return the log level that ``text`` sets for the whole program, and a warning about its unsupported parts.

    As in Rust, the last of several bare levels counts.
    """
    directives, has_filter, pattern = text.partition("/")
    level: LogLevel | None = None
    ignored = []
    for directive in map(str.strip, directives.split(",")):
        if directive.lower() in RUST_LEVELS:
            level = RUST_LEVELS[directive.lower()]
        elif directive:
            ignored.append(directive)
    if has_filter:
        ignored.append(f"/{pattern}")
    if not ignored:
        return level, None
    bare = "" if level else "; a level by itself counts, as info"
    return level, f"{', '.join(ignored)} is ignored: modules and filters are those of programs in Rust{bare}"


CONFIG_VARIABLE: Final = "MODELHOST_CONFIG"
URL_VARIABLE: Final = "MODELHOST_URL"
KEY_VARIABLE: Final = "MODELHOST_API_KEY"
SERVER_VARIABLE: Final = "LLAMA_SERVER"

OTHER_VARIABLES: Final[Mapping[str, str]] = {
    CONFIG_VARIABLE: "The configuration file, like `--config`.",
    URL_VARIABLE: "The running host that `ask` and `chat` use, like `--url`.",
    KEY_VARIABLE: "One key: `ask` and `chat` send it, and a host without `MODELHOST_API_KEYS` requires it.",
}
"""Variables with our prefix that belong to no setting."""

PROGRAM_VARIABLES: Final[Mapping[str, str]] = {
    SERVER_VARIABLE: "A `llama-server` that runs GGUF models instead of modelhost's own: its path, or its name "
    "on the `PATH`, like the engine option `server` of llama.cpp. Not read from `.env`.",
}
"""Variables that name programs of this machine; they are not read from ``.env``."""


@dataclass(frozen=True, slots=True)
class OtherName:
    """Another variable for a setting, whose own variable overrides it."""

    key: str
    description: str
    read: Callable[[str], tuple[Any, str | None]] | None = None
    """Parses the text into a value and an optional warning; by default it is parsed like the setting's own variable."""


def _milliseconds(text: str) -> tuple[float, None]:
    """Convert the milliseconds of candle-vllm to seconds."""
    value = fields.parse_variable(fields.SETTINGS["keep_alive_interval"], text)
    return (value * 0.001 if isinstance(value, float) else value), None


OTHER_NAMES: Final[Mapping[str, OtherName]] = {
    KEY_VARIABLE: OtherName("api_keys", OTHER_VARIABLES[KEY_VARIABLE]),
    "CANDLE_VLLM_MODELS_CONFIG": OtherName("models_config", "`models_config`, under candle-vllm's name."),
    "CANDLE_VLLM_MCP_CONFIG": OtherName("mcp_config", "`mcp_config`, under candle-vllm's name."),
    "VLLM_MAX_SESSIONS": OtherName("max_sessions", "`max_sessions`, under vLLM's name."),
    "VLLM_MAX_SESSION_MESSAGES": OtherName("max_session_messages", "`max_session_messages`, under vLLM's name."),
    "KEEP_ALIVE_INTERVAL": OtherName("keep_alive_interval", "`keep_alive_interval` in milliseconds.", _milliseconds),
    RUST_LOG: OtherName(
        "log_level",
        "`log_level`, in the syntax of candle-vllm and mistral.rs: the global level, such as "
        "`info` in `info,hyper=warn`. Levels of modules are ignored, with a warning.",
        read_rust_log,
    ),
}

# A Kubernetes service called "modelhost" puts such variables into every pod beside it.
_SERVICE_LINK: Final = re.compile(r"MODELHOST_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


def current() -> Mapping[str, str]:
    """Return a copy of the environment of this process."""
    return MappingProxyType(dict(os.environ))


def read(environ: Mapping[str, str], *, kind: fields.OriginKind = "environment") -> fields.SourceValues:
    """Read settings from variables of the environment or of a file of ``kind``. Empty variables count as not set."""
    given: dict[str, fields.GivenValue] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for name, key, read_other in _names():
        text = environ.get(name, "")
        if not text.strip() or key in given or _is_service_link(name, text):
            continue
        label = name if kind == "environment" else f"{kind}: {name}"
        try:
            value, warning = (_value(name, key, text), None) if read_other is None else read_other(text)
        except ValueError as error:
            problems.append(f"{label}: {error}")
            continue
        if value is not None:
            origin = fields.Origin(kind=kind, name=name)
            given[key] = fields.GivenValue(setting=fields.SETTINGS[key], value=value, origin=origin, label=label)
        if warning is not None:
            warnings.append(f"{label}: {warning}")
    unknown, unlike = _unknown(environ, kind)
    return fields.SourceValues(
        given=tuple(given.values()), problems=(*problems, *unknown), warnings=(*warnings, *unlike)
    )


def _names() -> list[tuple[str, str, Callable[[str], tuple[Any, str | None]] | None]]:
    """Return variable, key and parser of all settings, their own variables before other names."""
    twins = [(setting.environment, key, None) for key, setting in fields.SETTINGS.items()]
    return [*twins, *((name, other.key, other.read) for name, other in OTHER_NAMES.items())]


def _value(name: str, key: str, text: str) -> Any:
    # A key may hold a comma; the variable for one key is not split.
    return (text.strip(),) if name == KEY_VARIABLE else fields.parse_variable(fields.SETTINGS[key], text)


def _unknown(environ: Mapping[str, str], kind: fields.OriginKind) -> tuple[list[str], list[str]]:
    """Return problems for variables that resemble a known one, and warnings for other unknown ones."""
    known = {setting.environment for setting in fields.SETTINGS.values()} | set(OTHER_VARIABLES)
    bare = [name.removeprefix(fields.ENVIRONMENT_PREFIX) for name in sorted(known)]
    problems: list[str] = []
    warnings: list[str] = []
    what = "unknown environment variable" if kind == "environment" else f"{kind}: unknown variable"
    for name in sorted(environ):
        if not name.startswith(fields.ENVIRONMENT_PREFIX):
            continue
        if _is_service_link(name, environ[name]):
            if name in known:
                warnings.append(f'{name} is ignored: it is what Kubernetes sets for a service called "modelhost"')
        elif name not in known:
            hint = suggestion(
                name.removeprefix(fields.ENVIRONMENT_PREFIX), bare, show=lambda close: fields.ENVIRONMENT_PREFIX + close
            )
            (problems if hint else warnings).append(f"{what} {name}{hint}")
    return problems, warnings


def _is_service_link(name: str, text: str) -> bool:
    if name == fields.SETTINGS["port"].environment:
        return bool(_SERVICE_ADDRESS.match(text))
    return bool(_SERVICE_LINK.fullmatch(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class DotenvFile:
    """Our variables in the ``.env`` file; empty if there is no file."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    why_ignored: str | None = None

    def values(self) -> fields.SourceValues:
        found = read(self.variables, kind=DOTENV)
        warnings = (self.why_ignored, *found.warnings) if self.why_ignored else found.warnings
        return fields.SourceValues(given=found.given, problems=found.problems, warnings=warnings)

    def merged_with(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """Return ``environ`` with the variables that only the file sets. Empty variables count as not set."""
        return {**self.variables, **{name: text for name, text in environ.items() if text.strip()}}


def read_dotenv_settings(cwd: Path) -> DotenvFile:
    """Read ``.env`` in ``cwd``, if it exists. A folder of that name is a virtual environment."""
    path = cwd / DOTENV
    if path.is_dir():
        return DotenvFile()
    found, why_ignored = read_dotenv(path)
    return DotenvFile(
        variables={
            name: text
            for name, text in found.items()
            if (name.startswith(fields.ENVIRONMENT_PREFIX) or name in OTHER_NAMES or name in VARIABLES) and text.strip()
        },
        why_ignored=why_ignored,
    )
