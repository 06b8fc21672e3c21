"""In how many calls a request stands: carried from the request that comes in to those that go out for it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

CALL_DEPTH: Final[ContextVar[int]] = ContextVar("modelhost_depth", default=0)
"""Of the request that the running code works for."""
DEPTH_HEADER: Final = "X-Modelhost-Depth"
"""Tells a server how deep the request stands. One that asks a host for an answer while it works on the request passes
it on, one deeper, so that a circle comes to an end."""
