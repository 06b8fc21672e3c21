"""Names of tools that every model's API takes (``^[a-zA-Z0-9_-]{1,64}$``), and choices among tools by name."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelhost.tools.catalogue import OfferedTool

MAX_LENGTH: Final = 64
ALL_OF_SERVER: Final = ".*"
"""Ends the name of a server that stands for all of its tools."""
DIGITS: Final = 6  # of the hash that follows a changed name
_SAFE: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True, order=True)
class ToolKey:
    """One tool of one server, under its original name."""

    server: str
    tool: str


def model_names(preferred: Mapping[ToolKey, str]) -> dict[ToolKey, str]:
    """Return a name for each tool, made from its preferred one (see :func:`preferred_name`).

    A preferred name that is safe and unique is the name. Any other gets a hash of the tool's origin, so that names
    depend neither on the order of the servers nor on which others there are, unless they clash.
    """
    shared = Counter(preferred.values())
    names = {key: name for key, name in preferred.items() if shared[name] == 1 and _SAFE.fullmatch(name)}
    taken = set(names.values())
    for key in sorted(preferred.keys() - names.keys()):
        names[key] = _hashed(preferred[key], key, taken)
        taken.add(names[key])
    return names


def meant_by(name: str, known: Mapping[str, ToolKey]) -> list[str]:
    """Return the names in ``known`` that a user may mean by ``name``: itself, ``server.tool``, or an original name.

    There are several only if several servers have a tool of that name.
    """
    if name in known:
        return [name]
    dotted = [each for each, key in known.items() if name == f"{key.server}.{key.tool}"]
    return dotted or [each for each, key in known.items() if name == key.tool]


def preferred_name(server: str, prefix: str | None, tool: str) -> str:
    """Return ``{prefix or server}_{tool}``; with an empty prefix just ``tool``."""
    before = server if prefix is None else prefix
    return f"{before}_{tool}" if before else tool


def _hashed(wished: str, key: ToolKey, taken: set[str]) -> str:
    digest = hashlib.sha256(f"{key.server}\0{key.tool}".encode()).hexdigest()
    safe = _UNSAFE.sub("_", wished)
    for digits in range(DIGITS, len(digest)):
        name = f"{safe[: MAX_LENGTH - 1 - digits]}_{digest[:digits]}"
        if name not in taken:
            return name
    raise AssertionError("two tools have one SHA-256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tools a request uses; ``None`` is all.

    Tools are named by their name for models, by ``server.tool``, by the original name, which several may share, or all
    of a server by ``server.*``.
    """

    servers: frozenset[str] | None = None
    tools: frozenset[str] | None = None
    denied: frozenset[str] = frozenset()
    """Names of tools that it does not use, although it would otherwise; none has to exist."""
    field: str | None = None
    """The field of the request that selects; errors name it."""

    def includes(self, tool: OfferedTool) -> bool:
        if not self.includes_server(tool.server) or not self.denied.isdisjoint(_names(tool)):
            return False
        return self.tools is None or not self.tools.isdisjoint(_names(tool))

    def includes_server(self, name: str) -> bool:
        return self.servers is None or name in self.servers

    def is_met_by(self, tools: Iterable[OfferedTool]) -> bool:
        """Whether each tool that it names is among ``tools``; never if it names none."""
        return self.tools is not None and self.tools <= {name for tool in tools for name in _names(tool)}


ALL: Final = Selection()


def _names(tool: OfferedTool) -> tuple[str, ...]:
    return tool.name, f"{tool.server}.{tool.tool}", tool.tool, tool.server + ALL_OF_SERVER
