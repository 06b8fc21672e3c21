"""The fields that one server may have in `mcp.json`, under all the names that programs give them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelhost.config.check import explained, suggestion
from modelhost.tools.entry import Approval, Protocol, SamplingMode

Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scalar = str | int | float | bool
MILLISECONDS_FROM: Final = 1000
"""A bare ``timeout`` of so much is milliseconds, as some programs write it: nobody waits a quarter of an hour."""


class SamplingFile(BaseModel):
    """``sampling`` in its long form."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    mode: SamplingMode = "off"
    max_tokens: int | None = Field(default=None, ge=1)


class EntryFile(BaseModel):
    """One server as the file has it, under our names. Values may hold references to variables."""

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
        """A command line in one list, as opencode has it, is a command and its arguments."""
        command = value.get("command") if isinstance(value, dict) else None
        if not isinstance(command, list) or not command:
            return value
        more = value.get("args", [])
        return {**value, "command": command[0], "args": [*command[1:], *more] if isinstance(more, list) else more}

    @property
    def is_wanted(self) -> bool:
        """Whether the server is to be started: no field says that it is not."""
        return self.enabled and self.is_active and not self.disabled


OTHER_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "transport": "type",
        "transportType": "type",
        "work_dir": "cwd",
        "workDir": "cwd",
        "workingDirectory": "cwd",
        "envFile": "env_file",
        "environment": "env",
        "httpUrl": "url",
        "serverUrl": "url",
        "isActive": "is_active",
        "tool_prefix": "prefix",
        "toolPrefix": "prefix",
        "timeout_secs": "timeout_seconds",
        "connect_timeout": "connect_timeout_seconds",
        "connect_timeout_secs": "connect_timeout_seconds",
        "allowedTools": "allowed_tools",
        "enabled_tools": "allowed_tools",
        "enabledTools": "allowed_tools",
        "includeTools": "allowed_tools",
        "deniedTools": "denied_tools",
        "disabled_tools": "denied_tools",
        "disabledTools": "denied_tools",
        "excludeTools": "denied_tools",
        "alwaysAllow": "auto_tools",
        "autoApprove": "auto_tools",
    }
)
LABELS: Final = frozenset({"name", "id", "description"})
"""For people; they change nothing here."""


def named_fields(raw: Mapping[str, Any], label: str) -> tuple[dict[str, Any], list[str]]:
    """The fields of ``raw`` under our names, and a warning for each that is unknown or given twice."""
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
    """The fields, if they are of the right kind.

    Raises:
        ValueError: what is wrong, in one sentence; no value is repeated, as it may be a secret.
    """
    try:
        return EntryFile.model_validate(fields)
    except ValidationError as error:
        problems = dict.fromkeys(
            f'"{".".join(str(part) for part in detail["loc"] if not _is_branch(part))}": '
            f"{explained(detail, is_secret=True)}"
            for detail in error.errors()
        )
        raise ValueError("; ".join(problems)) from None


def _is_branch(part: int | str) -> bool:
    """Whether a part of a place is pydantic's word for one member of a union."""
    return part in ("str", "int", "float", "bool", "SamplingFile") or str(part).startswith("literal[")


TransportKind = Literal["stdio", "http", "sse"]

_KINDS: Final[Mapping[str, TransportKind]] = MappingProxyType(
    {
        "stdio": "stdio",
        "process": "stdio",
        "local": "stdio",
        "http": "http",
        "streamablehttp": "http",
        "remote": "http",
        "sse": "sse",
    }
)


def transport_kind(file: EntryFile) -> TransportKind:
    """How the server is reached: as ``type`` says, or as the other fields suggest.

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
        # The older transport has always been served under this path; the newer one never asked for a type of its own.
        kind = "sse" if (file.url or "").rstrip("/").endswith("/sse") else "http"
    if kind == "stdio" and file.command is None:
        raise ValueError('"command" is missing')
    if kind != "stdio" and file.url is None:
        raise ValueError('neither "command" nor "url" is given' if file.type is None else '"url" is missing')
    return kind
