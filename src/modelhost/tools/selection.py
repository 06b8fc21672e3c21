"""A choice among the tools that there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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
        if not self.includes_server(tool.server):
            return False
        return self.tools is None or not self.tools.isdisjoint(_names(tool))

    def includes_server(self, name: str) -> bool:
        return self.servers is None or name in self.servers

    def is_met_by(self, tools: Iterable[OfferedTool]) -> bool:
        """Whether each tool that it names is among ``tools``; never, if it names none."""
        return self.tools is not None and self.tools <= {name for tool in tools for name in _names(tool)}


ALL: Final = Selection()


def _names(tool: OfferedTool) -> tuple[str, ...]:
    return tool.name, f"{tool.server}.{tool.tool}", tool.tool
