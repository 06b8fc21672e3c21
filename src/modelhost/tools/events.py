"""What is told of the servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelhost.tools.status import ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEvent:
    """A server changed its state, or its tools, or is gone from the configuration."""

    at: float
    kind: Literal["state", "tools", "removed"]
    server: str
    state: ServerState | None = None
    message: str | None = None

    @property
    def about(self) -> tuple[str, str]:
        return self.server, self.kind
