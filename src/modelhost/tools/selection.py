"""A choice among the tools that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the MCP SDK behind it takes half a second, and not every host has tools
    from modelhost.tools.offered import OfferedTool


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tools a request wants; ``None`` is all.

    Tools go by the name that models know, by ``server.tool``, or by the original one, which several may have.
    """

    servers: frozenset[str] | None = None
    tools: frozenset[str] | None = None

    def includes(self, tool: OfferedTool) -> bool:
        if self.servers is not None and tool.server not in self.servers:
            return False
        names = (tool.name, f"{tool.server}.{tool.tool}", tool.tool)
        return self.tools is None or not self.tools.isdisjoint(names)
