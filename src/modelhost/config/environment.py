"""The process environment: the only reader of it in the program, and every variable that it knows."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from modelhost.config.check import suggestion
from modelhost.config.fields import ENVIRONMENT_PREFIX, SETTINGS
from modelhost.config.origins import Given, Origin, Reading
from modelhost.config.text import from_variable

CONFIG_VARIABLE: Final = "MODELHOST_CONFIG"
URL_VARIABLE: Final = "MODELHOST_URL"
KEY_VARIABLE: Final = "MODELHOST_API_KEY"
FIXTURES_VARIABLE: Final = "MODELHOST_MCP_FIXTURES"
"""What the conformance suite wants of our MCP servers besides, as `module:attribute`; of no use to anybody else."""

OTHER_VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        CONFIG_VARIABLE: "The configuration file, as `--config`.",
        URL_VARIABLE: "The running host that `ask` and `chat` talk to, as `--url`.",
        KEY_VARIABLE: "One key: `ask` and `chat` send it, and a host without `MODELHOST_API_KEYS` requires it.",
    }
)
"""Variables with our prefix that are not the twin of a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherName:
    """A second variable for a setting; its number is multiplied by ``factor``. The setting's own twin wins over it."""

    key: str
    description: str
    factor: float | None = None


OTHER_NAMES: Final[Mapping[str, OtherName]] = MappingProxyType(
    {
        KEY_VARIABLE: OtherName(key="api_keys", description=OTHER_VARIABLES[KEY_VARIABLE]),
        "CANDLE_VLLM_MODELS_CONFIG": OtherName(
            key="models_config", description="`models_config`, under candle-vllm's name."
        ),
        "CANDLE_VLLM_MCP_CONFIG": OtherName(key="mcp_config", description="`mcp_config`, under candle-vllm's name."),
        "VLLM_MAX_SESSIONS": OtherName(key="max_sessions", description="`max_sessions`, under vLLM's name."),
        "VLLM_MAX_SESSION_MESSAGES": OtherName(
            key="max_session_messages", description="`max_session_messages`, under vLLM's name."
        ),
        # candle-vllm counts milliseconds here.
        "KEEP_ALIVE_INTERVAL": OtherName(
            key="keep_alive_interval", description="`keep_alive_interval` in milliseconds.", factor=0.001
        ),
    }
)

# A Kubernetes service called "modelhost" puts such variables into every pod beside it.
_SERVICE_LINK: Final = re.compile(r"MODELHOST_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


def current() -> Mapping[str, str]:
    """The environment of this process, as it is now."""
    return MappingProxyType(dict(os.environ))


def read(environ: Mapping[str, str]) -> Reading:
    """The settings that the environment gives. An empty variable counts as not set."""
    given: dict[str, Given] = {}
    problems: list[str] = []
    for name, key, factor in _names():
        text = environ.get(name, "")
        if not text.strip() or key in given or _is_service_link(name, text):
            continue
        try:
            given[key] = _given(name, key, text, factor)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    unknown, warnings = _unknown(environ)
    return Reading(given=tuple(given.values()), problems=(*problems, *unknown), warnings=tuple(warnings))


def _names() -> list[tuple[str, str, float | None]]:
    """Variable, key and factor of all settings, own twins before other names."""
    twins: list[tuple[str, str, float | None]] = [(setting.environment, key, None) for key, setting in SETTINGS.items()]
    return twins + [(name, other.key, other.factor) for name, other in OTHER_NAMES.items()]


def _given(name: str, key: str, text: str, factor: float | None) -> Given:
    setting = SETTINGS[key]
    # A key may hold a comma; the variable for one key is not split.
    value = (text.strip(),) if name == KEY_VARIABLE else from_variable(setting, text)
    if factor is not None and isinstance(value, float):
        value *= factor
    return Given(setting=setting, value=value, origin=Origin(kind="environment", name=name), label=name)


def _unknown(environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Problems for variables that are nearly a known one, warnings for those that are not."""
    known = {setting.environment for setting in SETTINGS.values()} | set(OTHER_VARIABLES) | {FIXTURES_VARIABLE}
    bare = [name.removeprefix(ENVIRONMENT_PREFIX) for name in sorted(known)]
    problems: list[str] = []
    warnings: list[str] = []
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if _is_service_link(name, environ[name]):
            if name in known:
                warnings.append(f'{name} is ignored: it is what Kubernetes sets for a service called "modelhost"')
        elif name not in known:
            hint = suggestion(
                name.removeprefix(ENVIRONMENT_PREFIX), bare, show=lambda close: ENVIRONMENT_PREFIX + close
            )
            (problems if hint else warnings).append(f"unknown environment variable {name}{hint}")
    return problems, warnings


def _is_service_link(name: str, text: str) -> bool:
    if name == SETTINGS["port"].environment:
        return bool(_SERVICE_ADDRESS.match(text))
    return bool(_SERVICE_LINK.fullmatch(name))
