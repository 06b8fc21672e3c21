"""The caller of a request, as far as the door that it came through knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

Face = Literal["http", "mcp-http", "mcp-stdio", "host"]
"""The door of a request; ``host``: none, the caller is a program in this process."""


class Caller(Struct, frozen=True, kw_only=True):
    """The caller of a request or operation; passed along from the door to the worker."""

    key_name: str = ""
    """The name of the API key; empty where none is required."""
    scopes: frozenset[str] | None = None
    """What the key permits; ``None``: everything."""
    address: str | None = None
    """The peer of the connection; ``None``: this process."""
    depth: int = 0
    """How many tool calls the request is nested in: a limit ends the recursion of a host that is its own MCP server."""
    face: Face = "host"
    request_id: str | None = None
    """The id of the HTTP request or of the MCP message."""


NOBODY: Final = Caller()
"""A program in this process."""

Authorise = Callable[[Caller, str], None]
"""Permits an operation, by its name in the audit log, or raises the error for the caller."""


def admit(_caller: Caller, _operation: str) -> None:
    """Permit everything: the doors check keys, and so far each key permits all operations."""
