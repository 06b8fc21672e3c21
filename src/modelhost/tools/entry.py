"""The configuration of one MCP server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:  # slow to import, and the command line uses the names below
    import httpx2

    from modelhost.fetching.guard import Guard

Approval = Literal["auto", "read_only", "ask", "deny"]
"""Whether a call runs: always; without approval if the tool declares that it only reads; after approval; never."""
SamplingMode = Literal["off", "ask", "auto"]
Protocol = Literal["auto", "legacy"]
"""``auto`` tries 2026-07-28, then falls back to the handshake; ``legacy`` is for servers that fail at the attempt."""

TIMEOUT_SECONDS: Final = 60.0
CONNECT_TIMEOUT_SECONDS: Final = 30.0  # `npx -y` and `uvx` may have to download the server
MAX_CONCURRENT_CALLS: Final = 8
SAMPLING_MAX_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioTransport:
    """A server that runs as a child process, over its standard input and output."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """In addition to the few variables that every server gets."""
    cwd: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTransport:
    """A server at a URL: streamable HTTP, or the older HTTP with server-sent events."""

    kind: Literal["http", "sse"]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: httpx2.Auth | None = field(default=None, repr=False)
    """Signs each request, such as an OAuth provider of the SDK; cannot be set in a file."""
    guard: Guard | None = field(default=None, repr=False)
    """Of a server that a request names: permits the addresses to connect to."""


def kind_at(url: str) -> Literal["http", "sse"]:
    """Return the transport at ``url``: by convention, the older one is served under ``/sse``."""
    return "sse" if url.rstrip("/").endswith("/sse") else "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingPolicy:
    """Whether a server may use a local model, and how many tokens per request."""

    mode: SamplingMode = "off"
    max_tokens: int = SAMPLING_MAX_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEntry:
    """One MCP server. What may be secret (arguments, environment, URL, headers) is not in its ``repr``."""

    name: str
    transport: StdioTransport | HttpTransport | None
    """``None`` only with ``why_disabled``."""
    is_enabled: bool = True
    why_disabled: str | None = None
    """Why it cannot be used as configured; ``None`` if it can."""
    prefix: str | None = None
    """Replaces the server's name before each tool's name; empty: no prefix."""
    allowed_tools: frozenset[str] | None = None
    denied_tools: frozenset[str] = frozenset()
    timeout_seconds: float = TIMEOUT_SECONDS
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS
    max_concurrent_calls: int = MAX_CONCURRENT_CALLS
    approval: Approval = "auto"
    tool_approvals: Mapping[str, Approval] = field(default_factory=dict)
    sampling: SamplingPolicy = SamplingPolicy()
    roots: tuple[str, ...] = ()
    """URIs of the folders that the server may use."""
    instructions: str | None = None
    protocol: Protocol = "auto"

    def allows(self, tool: str) -> bool:
        """Whether the tool of that original name is offered."""
        return tool not in self.denied_tools and (self.allowed_tools is None or tool in self.allowed_tools)

    def approval_of(self, tool: str) -> Approval:
        return self.tool_approvals.get(tool, self.approval)

    def is_connected_as(self, other: ServerEntry) -> bool:
        """Whether a connection made for ``other`` can be kept for this entry."""
        return (self.transport, self.sampling, self.roots, self.protocol) == (
            other.transport,
            other.sampling,
            other.roots,
            other.protocol,
        )
