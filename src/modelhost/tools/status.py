"""What clients get to know of MCP servers: their state, events of its changes, their resources and prompts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ServerState(StrEnum):
    """A ``failed`` server has to be restarted by hand; a remote one is also retried from time to time."""

    DISABLED = "disabled"
    CONNECTING = "connecting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


class Shown(BaseModel):
    """What clients of the host see of its MCP servers."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class ToolProblemReport(Shown):
    """What is wrong with one tool of an MCP server."""

    tool: str = Field(description="The tool's name on the server, or its place in the list if it has none.")
    location: str = Field(description="A JSON pointer into the server's description of the tool.")
    message: str
    is_offered: bool = Field(description="Whether models receive the tool anyway.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingServer:
    """A server whose tools are missing from a request."""

    server: str
    state: ServerState


class ServerReport(Shown):
    """One MCP server."""

    name: str
    state: ServerState = Field(description="disabled, connecting, ready, restarting, failed or stopped.")
    transport: Literal["stdio", "http", "sse"] | None
    tools: int = Field(description="Number of tools that the server offers.")
    tool_problems: list[ToolProblemReport] = Field(description="Tools that are left out or changed, with the reason.")
    protocol_version: str | None = Field(description="The negotiated version of MCP.")
    server_name: str | None = Field(description="The server's name and version.")
    server_version: str | None
    instructions: str | None = Field(description="Instructions for its use, from the server or from `mcp.json`.")
    restarts: int = Field(description="Number of reconnections.")
    last_error: str | None = Field(description="Why the last connection ended or failed.")
    why_disabled: str | None = Field(description="Why the server is disabled.")
    pid: int | None
    in_flight: int = Field(description="Calls at work.")
    calls: int = Field(description="Answered calls.")
    failed_calls: int = Field(description="Failed calls.")
    latency_p50_seconds: float | None = Field(description="Median duration of the last calls.")
    latency_last_seconds: float | None
    connect_seconds: float | None = Field(description="Time from the start to the list of tools.")
    ready_since: float | None = Field(description="Seconds since 1970.")
    stderr: list[str] = Field(repr=False, description="The last lines of the server's log.")


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


class ResourceCard(Shown):
    """One resource, or a family of them."""

    server: str
    uri: str = Field(description="The URI; for a family of resources, a template with parameters in braces.")
    name: str
    title: str | None
    description: str | None
    media_type: str | None
    size: int | None = Field(description="The size in bytes, if the server reports it.")
    is_template: bool


class ResourceText(Shown):
    """What a resource holds: text, or bytes in base64."""

    uri: str
    media_type: str | None
    text: str | None = Field(repr=False)
    blob: str | None = Field(repr=False)


class PromptField(Shown):
    """An argument of a prompt."""

    name: str
    description: str | None
    is_required: bool


class PromptCard(Shown):
    """One prompt."""

    server: str
    name: str
    title: str | None
    description: str | None
    arguments: list[PromptField]
