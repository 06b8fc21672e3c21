"""All tools of all servers as they are offered to models, rebuilt only after changes."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelhost.exchange.bodies import tool_of
from modelhost.exchange.requests import Tool
from modelhost.tools.entry import Approval, ServerEntry
from modelhost.tools.names import ToolKey, meant_by, model_names, preferred_name
from modelhost.tools.server import ToolServer
from modelhost.tools.server_tool import ServerTool
from modelhost.tools.status import ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """A tool as it is offered to models, under a name that every model's API accepts."""

    name: str
    server: str
    tool: str
    """Its original name."""
    function: Mapping[str, Any] = field(repr=False)
    """The element of ``tools`` in a chat request."""
    as_request_tool: Tool = field(init=False, repr=False)
    """The same in the form that requests have."""
    annotations: Mapping[str, Any]
    is_read_only: bool
    approval: Approval

    def __post_init__(self) -> None:
        object.__setattr__(self, "as_request_tool", tool_of(self.function))  # shared by all requests


def offered_tool(tool: ServerTool, name: str, entry: ServerEntry) -> OfferedTool:
    """Return the tool under ``name``, with its settings in the configuration."""
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


OFFERED_STATES: Final = (ServerState.READY, ServerState.RESTARTING)
"""A server that is being restarted keeps its tools: a call waits for it, and prompts that list them stay the same, so
that the engine's prompt cache stays valid."""
SUGGESTIONS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A tool with everything that a call needs."""

    offered: OfferedTool
    known: ServerTool
    server: ToolServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All tools at one moment."""

    offered: tuple[OfferedTool, ...] = ()
    listed: Mapping[str, CatalogueEntry] = field(default_factory=dict)
    """By name; including those of servers that are not ready."""
    absent: tuple[ToolServer, ...] = ()
    """The servers that should be ready and have no tools to offer."""

    def meant_by(self, name: str) -> list[CatalogueEntry]:
        """Return the tools that a user may mean by ``name``; see :func:`modelhost.tools.names.meant_by`."""
        known = {each: ToolKey(listed.known.server, listed.known.tool) for each, listed in self.listed.items()}
        return [self.listed[each] for each in meant_by(name, known)]

    def suggestions(self, name: str) -> list[str]:
        """Return the names that are closest to one that does not exist."""
        return difflib.get_close_matches(name, self.listed, n=SUGGESTIONS)


def catalogue_of(servers: Collection[ToolServer]) -> Catalogue:
    """Return all tools. A server's tools keep their names whether it is ready or not."""
    known = {ToolKey(server.name, tool.tool): (server, tool) for server in servers for tool in server.tools}
    preferred = {key: preferred_name(key.server, server.entry.prefix, key.tool) for key, (server, _) in known.items()}
    names = model_names(preferred)
    listed = {
        names[key]: CatalogueEntry(offered=offered_tool(tool, names[key], server.entry), known=tool, server=server)
        for key, (server, tool) in known.items()
    }
    offered = tuple(each.offered for each in listed.values() if each.server.state in OFFERED_STATES)
    absent = tuple(server for server in servers if server.is_absent)
    return Catalogue(offered=offered, listed=listed, absent=absent)
