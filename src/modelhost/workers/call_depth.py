"""How deeply a request is nested in calls of hosts and tools: carried from incoming requests to outgoing ones."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

CALL_DEPTH: Final[ContextVar[int]] = ContextVar("modelhost_depth", default=0)
"""Of the request that the running code handles."""
DEPTH_HEADER: Final = "X-Modelhost-Depth"
"""In requests to other servers. A server that calls a host while it handles the request passes it on, increased by one,
so that a cycle ends."""
