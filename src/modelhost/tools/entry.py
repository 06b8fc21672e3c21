"""What the configuration says of one MCP server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:  # slow to import, and the command line reads the names below
    import httpx2

Approval = Literal["auto", "read_only", "ask", "deny"]
"""Whether a call runs: always; if the tool says that it only reads, else asked; when someone agrees; never."""
SamplingMode = Literal["off", "ask", "auto"]
Protocol = Literal["auto", "legacy"]
"""``auto`` asks for 2026-07-28, then falls back to the handshake; ``legacy``: for servers that the question upsets."""

TIMEOUT_SECONDS: Final = 60.0
CONNECT_TIMEOUT_SECONDS: Final = 30.0  # `npx -y` and `uvx` may have to download the server
MAX_CONCURRENT_CALLS: Final = 8
SAMPLING_MAX_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A server that is started as a child process and spoken to over its standard input and output."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the few variables that every server gets."""
    cwd: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A server at an address: streamable HTTP, or the older HTTP with server-sent events."""

    kind: Literal["http", "sse"]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: httpx2.Auth | None = field(default=None, repr=False)
    """What signs each request, such as a provider of the SDK for OAuth; a file cannot say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingPolicy:
    """Whether a server may have a local model write for it, and how much at once."""

    mode: SamplingMode = "off"
    max_tokens: int = SAMPLING_MAX_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEntry:
    """One MCP server. What may be secret (arguments, environment, address, headers) is not in its ``repr``."""

    name: str
    transport: Process | Remote | None
    """``None`` only with ``why_disabled``."""
    is_enabled: bool = True
    why_disabled: str | None = None
    """Why it cannot be used as it is written; ``None`` when it can."""
    prefix: str | None = None
    """In the place of the server's name before each tool's; empty: none."""
    allowed_tools: frozenset[str] | None = None
    denied_tools: frozenset[str] = frozenset()
    timeout_seconds: float = TIMEOUT_SECONDS
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS
    max_concurrent_calls: int = MAX_CONCURRENT_CALLS
    approval: Approval = "auto"
    tool_approvals: Mapping[str, Approval] = field(default_factory=dict)
    sampling: SamplingPolicy = SamplingPolicy()
    roots: tuple[str, ...] = ()
    """URIs of the folders that the server may regard as its own."""
    instructions: str | None = None
    protocol: Protocol = "auto"

    def allows(self, tool: str) -> bool:
        """Whether the tool of that (original) name is offered at all."""
        return tool not in self.denied_tools and (self.allowed_tools is None or tool in self.allowed_tools)

    def approval_of(self, tool: str) -> Approval:
        return self.tool_approvals.get(tool, self.approval)

    def is_connected_as(self, other: ServerEntry) -> bool:
        """Whether a connection made for ``other`` serves this entry too."""
        return (self.transport, self.sampling, self.roots, self.protocol) == (
            other.transport,
            other.sampling,
            other.roots,
            other.protocol,
        )
