"""The state of one MCP server, and the events that tell of its changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class ServerState(StrEnum):
    """A ``failed`` server has to be restarted by hand; a remote one is also retried from time to time."""

    DISABLED = "disabled"
    CONNECTING = "connecting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProblem:
    """What is wrong with one tool of a server."""

    tool: str
    """Its name, or its position in the list if it has none."""
    location: str
    """A JSON pointer into the server's description of it."""
    message: str
    is_offered: bool
    """Whether models get it nevertheless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingServer:
    """A server whose tools are missing from a request."""

    server: str
    state: ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    name: str
    state: ServerState
    transport: Literal["stdio", "http", "sse"] | None
    tools: int
    """The number of offered tools."""
    tool_problems: tuple[ToolProblem, ...]
    """Tools that are left out, or whose schemas are not honoured in full."""
    protocol_version: str | None
    server_name: str | None
    server_version: str | None
    instructions: str | None
    restarts: int
    """Connections after the first."""
    last_error: str | None
    why_disabled: str | None
    pid: int | None
    in_flight: int
    calls: int
    failed_calls: int
    latency_p50_seconds: float | None
    """Of the latest calls that were answered."""
    latency_last_seconds: float | None
    connect_seconds: float | None
    ready_since: float | None
    """Unix time."""
    stderr: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEvent:
    """A server changed its state or its tools, or was removed from the configuration."""

    at: float
    kind: Literal["state", "tools", "removed"]
    server: str
    state: ServerState | None = None
    message: str | None = None

    @property
    def about(self) -> tuple[str, str]:
        return self.server, self.kind
