"""Who makes a request, as far as the door that it came by knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

Face = Literal["http", "mcp-http", "mcp-stdio", "host"]
"""The door that somebody comes by; ``host``: none, he is a program in this process."""


class Caller(Struct, frozen=True, kw_only=True):
    """Whoever asks for something. Every request carries one from the door to the worker."""

    key_name: str = ""
    """The name of the key that was shown; empty where none is needed."""
    scopes: frozenset[str] | None = None
    """What the key allows; ``None``: everything."""
    address: str | None = None
    """Where the connection comes from; ``None``: from this process."""
    depth: int = 0
    """In how many calls of tools the request stands: a host that is its own MCP server must come to an end."""
    face: Face = "host"
    request_id: str | None = None
    """The id of an HTTP request, or else that of an MCP message."""


NOBODY: Final = Caller()
"""A program in this process."""

Authorise = Callable[[Caller, str], None]
"""Lets a caller have an operation done, named as the audit log names it; else raises the error that he gets."""


def admit(_caller: Caller, _operation: str) -> None:
    """Let everybody have everything done: the door knows keys, and so far each of them allows all."""
