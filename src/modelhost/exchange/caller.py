"""Who makes a request, as far as the door that it came by knows."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


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


NOBODY: Final = Caller()
"""A program in this process."""
