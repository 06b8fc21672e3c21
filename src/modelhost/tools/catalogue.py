"""All tools of all servers as they are offered to models; made anew only when something has changed."""

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


def offered_tool(tool: ServerTool, name: str, entry: ServerEntry) -> OfferedTool:
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


OFFERED_STATES: Final = (ServerState.READY, ServerState.RESTARTING)
"""A server that is being started again keeps its tools: a call waits for it, and a prompt that lists them stays the
same, so that the engine's cache of it stays valid."""
SUGGESTIONS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A tool with all that a call of it needs."""

    offered: OfferedTool
    known: ServerTool
    server: ToolServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The tools at one moment."""

    offered: tuple[OfferedTool, ...] = ()
    listed: Mapping[str, CatalogueEntry] = field(default_factory=dict)
    """By name; those of servers that are not there now too."""
    absent: tuple[ToolServer, ...] = ()
    """The servers that should be there, and have no tools to offer."""

    def meant_by(self, name: str) -> list[CatalogueEntry]:
        """The tools that a person may mean by ``name``; see :func:`modelhost.tools.names.meant_by`."""
        known = {each: ToolKey(listed.known.server, listed.known.tool) for each, listed in self.listed.items()}
        return [self.listed[each] for each in meant_by(name, known)]

    def suggestions(self, name: str) -> list[str]:
        """The names that are closest to one that does not exist."""
        return difflib.get_close_matches(name, self.listed, n=SUGGESTIONS)


def catalogue_of(servers: Collection[ToolServer]) -> Catalogue:
    """All tools. A server's tools keep their names whether it is there or not."""
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
