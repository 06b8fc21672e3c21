"""A choice among the tools that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the MCP SDK behind it takes half a second, and not every host has tools
    from modelhost.tools.offered import OfferedTool


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tools a request wants; ``None`` is all. Tools go by the name that models know, or by the original one."""

    servers: frozenset[str] | None = None
    tools: frozenset[str] | None = None

    def includes(self, tool: OfferedTool) -> bool:
        if self.servers is not None and tool.server not in self.servers:
            return False
        return self.tools is None or tool.name in self.tools or tool.tool in self.tools
