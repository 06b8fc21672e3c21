"""A tool as it is offered to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelhost.exchange.bodies import tool_of
from modelhost.exchange.requests import Tool
from modelhost.tools.entry import Approval, ServerEntry
from modelhost.tools.known import KnownTool


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """A tool under a name that every model's API takes."""

    name: str
    server: str
    tool: str
    """Its original name."""
    function: Mapping[str, Any] = field(repr=False)
    """The element of ``tools`` in a chat request."""
    asked: Tool = field(init=False, repr=False)
    """The same as requests have it."""
    annotations: Mapping[str, Any]
    is_read_only: bool
    approval: Approval

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", tool_of(self.function))  # as many requests as there are share it


def offer(tool: KnownTool, name: str, entry: ServerEntry) -> OfferedTool:
    """The tool under ``name``, with what the configuration says of it."""
    function = {"name": name, "description": tool.description, "parameters": tool.schema}
    return OfferedTool(
        name=name,
        server=tool.server,
        tool=tool.tool,
        function={"type": "function", "function": function},
        annotations=tool.annotations,
        is_read_only=tool.is_read_only,
        approval=entry.approval_of(tool.tool),
    )
