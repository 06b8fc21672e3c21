"""All tools of all servers under their names for models; made anew only when something has changed."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from modelhost.tools.known import KnownTool
from modelhost.tools.names import ToolKey, meant_by, model_names, wish
from modelhost.tools.offered import OfferedTool, offer
from modelhost.tools.server import ToolServer
from modelhost.tools.status import ServerState

OFFERED_STATES: Final = (ServerState.READY, ServerState.RESTARTING)
"""A server that is being started again keeps its tools: a call waits for it, and a prompt that lists them stays the
same, so that the engine's cache of it stays valid."""
SUGGESTIONS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A tool with all that a call of it needs."""

    offered: OfferedTool
    known: KnownTool
    server: ToolServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The tools at one moment."""

    offered: tuple[OfferedTool, ...] = ()
    listed: Mapping[str, Listed] = field(default_factory=dict)
    """By name; those of servers that are not there now too."""
    absent: tuple[ToolServer, ...] = ()
    """The servers that should be there, and have no tools to offer."""

    def meant_by(self, name: str) -> list[Listed]:
        """The tools that a person may mean by ``name``; see :func:`modelhost.tools.names.meant_by`."""
        known = {each: ToolKey(listed.known.server, listed.known.tool) for each, listed in self.listed.items()}
        return [self.listed[each] for each in meant_by(name, known)]

    def suggestions(self, name: str) -> list[str]:
        """The names that are closest to one that does not exist."""
        return difflib.get_close_matches(name, self.listed, n=SUGGESTIONS)


def catalogue_of(servers: Collection[ToolServer]) -> Catalogue:
    """All tools. A server's tools keep their names whether it is there or not."""
    known = {ToolKey(server.name, tool.tool): (server, tool) for server in servers for tool in server.tools}
    wishes = {key: wish(key.server, server.entry.prefix, key.tool) for key, (server, _) in known.items()}
    names = model_names(wishes)
    listed = {
        names[key]: Listed(offered=offer(tool, names[key], server.entry), known=tool, server=server)
        for key, (server, tool) in known.items()
    }
    offered = tuple(each.offered for each in listed.values() if each.server.state in OFFERED_STATES)
    absent = tuple(server for server in servers if server.is_absent)
    return Catalogue(offered=offered, listed=listed, absent=absent)
