"""The formats of `mcp.json` in use: where the servers are in it, and the fields that one server may have.

``servers`` a list (mistral.rs, candle-vllm), ``servers`` an object (VS Code, LLM-Server), ``mcpServers`` (Claude,
Cursor, LM Studio, FluidMCP), ``mcp`` (Crush, opencode; VS Code's settings hold ``servers`` in it). A field goes by all
the names that programs give it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelhost.config import llm_server
from modelhost.config.checks import explain_error, suggestion
from modelhost.tools.entry import Approval, Protocol, SamplingMode, kind_at

ROOTS: Final = ("mcpServers", "servers", "mcp")
DEFAULTS: Final = ("auto_register_tools", "tool_timeout_secs", "max_concurrent_calls")
IGNORED: Final = ("$schema", "inputs")
"""Known and without effect: a value that refers to an ``input`` is reported where it is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawServer:
    name: str
    place: str
    fields: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    servers: tuple[RawServer, ...]
    defaults: Mapping[str, Any]
    warnings: tuple[str, ...]


def raw_file(found: Mapping[Any, Any]) -> RawFile:
    """Return the servers in ``found``, whatever its format.

    Raises:
        ValueError: it has no known format; the message is the end of a sentence.
    """
    roots = [root for root in ROOTS if root in found]
    if not roots:
        raise ValueError('it has none of "mcpServers", "servers" and "mcp"')
    known = (*ROOTS, *DEFAULTS, *IGNORED)
    # The other keys of LLM-Server's file are settings, which are checked as such.
    unknown = [] if llm_server.is_llm_server_file(found) else [f'"{key}"' for key in found if key not in known]
    warnings = [f"unknown {', '.join(unknown)}: ignored"] if unknown else []
    servers: dict[str, RawServer] = {}
    for root in roots:
        for server in _servers(root, found[root]):
            if server.name in servers:
                warnings.append(f'{server.place} is ignored: the name "{server.name}" is used twice')
            else:
                servers[server.name] = server
    defaults = {key: found[key] for key in DEFAULTS if key in found}
    return RawFile(servers=tuple(servers.values()), defaults=defaults, warnings=tuple(warnings))


def _servers(root: str, found: Any) -> Iterator[RawServer]:
    if root == "mcp" and isinstance(found, dict) and found and set(found) <= {"servers", *IGNORED}:
        found = found.get("servers", {})
    if isinstance(found, dict):
        for name, fields in found.items():
            yield RawServer(name=str(name), place=f'{root}["{name}"]', fields=fields)
    elif isinstance(found, list):
        for number, fields in enumerate(found):
            yield _of_list(f"{root}[{number}]", fields)
    elif found is not None:
        raise ValueError(f'"{root}": expected servers, each with a name')


def _of_list(place: str, fields: Any) -> RawServer:
    """Return a server of the list format, in which ``source`` may hold the transport's fields."""
    name = fields.get("name") or fields.get("id") if isinstance(fields, dict) else None
    if not isinstance(name, str):
        raise ValueError(f'{place}: "name" is missing')  # noqa: TRY004  (a ValueError by contract)
    source = fields.get("source")
    if isinstance(source, dict):
        fields = {**{key: value for key, value in fields.items() if key != "source"}, **source}
    return RawServer(name=name, place=place, fields=fields)


Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scalar = str | int | float | bool
MILLISECONDS_FROM: Final = 1000
"""A ``timeout`` of at least this is in milliseconds, as some programs write it."""


class SamplingFile(BaseModel):
    """``sampling`` in its long form."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    mode: SamplingMode = "off"
    max_tokens: int | None = Field(default=None, ge=1)


class EntryFile(BaseModel):
    """One server in a file, under our names. Values may refer to variables."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    type: str | None = None
    command: Text | None = None
    args: list[Scalar] = []
    env: dict[str, Scalar] = {}
    env_file: Text | None = None
    cwd: Text | None = None
    url: Text | None = None
    headers: dict[str, Scalar] = {}
    bearer_token: Text | None = None
    auth: Text | None = None
    enabled: bool = True
    is_active: bool = True
    disabled: bool = False
    prefix: str | None = None
    timeout: Seconds | None = None
    timeout_seconds: Seconds | None = None
    connect_timeout_seconds: Seconds | None = None
    max_concurrent_calls: int | None = Field(default=None, ge=1)
    allowed_tools: list[str] | None = None
    denied_tools: list[str] = []
    auto_tools: list[str] = []
    approval: Approval | None = None
    tool_approval: dict[str, Approval] = {}
    sampling: SamplingMode | SamplingFile = "off"
    roots: list[Text] = []
    instructions: str | None = None
    protocol: Protocol = "auto"

    @model_validator(mode="before")
    @classmethod
    def _with_command_apart(cls, value: Any) -> Any:
        command = value.get("command") if isinstance(value, dict) else None
        if not isinstance(command, list) or not command:
            return value
        more = value.get("args", [])
        return {**value, "command": command[0], "args": [*command[1:], *more] if isinstance(more, list) else more}

    @property
    def is_wanted(self) -> bool:
        """Whether the server should be started: no field disables it."""
        return self.enabled and self.is_active and not self.disabled


_OTHER_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "type": ("transport", "transportType"),
    "cwd": ("work_dir", "workDir", "workingDirectory"),
    "env_file": ("envFile",),
    "env": ("environment",),
    "url": ("httpUrl", "serverUrl"),
    "is_active": ("isActive",),
    "prefix": ("tool_prefix", "toolPrefix"),
    "timeout_seconds": ("timeout_secs",),
    "connect_timeout_seconds": ("connect_timeout", "connect_timeout_secs"),
    "allowed_tools": ("allowedTools", "enabled_tools", "enabledTools", "includeTools"),
    "denied_tools": ("deniedTools", "disabled_tools", "disabledTools", "excludeTools"),
    "auto_tools": ("alwaysAllow", "autoApprove"),
}
OTHER_NAMES: Final = {other: name for name, others in _OTHER_NAMES.items() for other in others}
LABELS: Final = frozenset({"name", "id", "description"})
"""For people; without effect."""


def canonical_fields(raw: Mapping[str, Any], label: str) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of ``raw`` under our names, and a warning for each that is unknown or given twice."""
    fields: dict[str, Any] = {}
    warnings: list[str] = []
    for key, value in raw.items():
        name = OTHER_NAMES.get(key, key)
        if key in LABELS or value is None:
            continue
        if name not in EntryFile.model_fields:
            hint = suggestion(key, [*EntryFile.model_fields, *OTHER_NAMES])
            warnings.append(f'{label}: unknown field "{key}" is ignored{hint}')
        elif name in fields:
            warnings.append(f'{label}: "{key}" is ignored: it says the same as another field')
        else:
            fields[name] = value
    return fields, warnings


def checked(fields: Mapping[str, Any]) -> EntryFile:
    """Return the validated fields.

    Raises:
        ValueError: what is wrong, in one sentence; values are not repeated, since they may be secret.
    """
    try:
        return EntryFile.model_validate(fields)
    except ValidationError as error:
        problems = dict.fromkeys(
            f'"{".".join(str(part) for part in detail["loc"] if not _is_branch(part))}": '
            f"{explain_error(detail, is_secret=True)}"
            for detail in error.errors()
        )
        raise ValueError("; ".join(problems)) from None


def _is_branch(part: int | str) -> bool:
    """Whether a part of a location is pydantic's name for a member of a union."""
    return part in ("str", "int", "float", "bool", "SamplingFile") or str(part).startswith("literal[")


TransportKind = Literal["stdio", "http", "sse"]

_KINDS: Final[Mapping[str, TransportKind]] = {
    "stdio": "stdio",
    "process": "stdio",
    "local": "stdio",
    "http": "http",
    "streamablehttp": "http",
    "remote": "http",
    "sse": "sse",
}


def transport_kind(file: EntryFile) -> TransportKind:
    """Return the transport: from ``type``, or else from the other fields.

    Raises:
        ValueError: an unknown type, or the field that the type needs is missing.
    """
    if file.type is not None:
        kind = _KINDS.get(file.type.lower().replace("-", "").replace("_", ""))
        if kind is None:
            raise ValueError(f'"type": expected stdio, http or sse, got "{file.type}"')
    elif file.command is not None:
        kind = "stdio"
    else:
        kind = kind_at(file.url or "")
    if kind == "stdio" and file.command is None:
        raise ValueError('"command" is missing')
    if kind != "stdio" and file.url is None:
        raise ValueError('neither "command" nor "url" is given' if file.type is None else '"url" is missing')
    return kind
