"""The shapes of `mcp.json` in use, as one list of servers.

``servers`` a list (mistral.rs, candle-vllm), ``servers`` an object (VS Code, LLM-Server), ``mcpServers`` (Claude,
Cursor, LM Studio, FluidMCP), ``mcp`` (Crush, opencode; VS Code's settings hold ``servers`` in it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelhost.config import llm_server

ROOTS: Final = ("mcpServers", "servers", "mcp")
DEFAULTS: Final = ("auto_register_tools", "tool_timeout_secs", "max_concurrent_calls")
IGNORED: Final = ("$schema", "inputs")
"""Known, and without effect: a value that refers to an ``input`` says so itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawServer:
    """One server as it is written."""

    name: str
    place: str
    fields: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """A file as it is written."""

    servers: tuple[RawServer, ...]
    defaults: Mapping[str, Any]
    warnings: tuple[str, ...]


def raw_file(found: Mapping[Any, Any]) -> RawFile:
    """The servers in ``found``, whatever its shape.

    Raises:
        ValueError: it has none of the shapes; the message is the end of a sentence.
    """
    roots = [root for root in ROOTS if root in found]
    if not roots:
        raise ValueError('it has none of "mcpServers", "servers" and "mcp"')
    known = (*ROOTS, *DEFAULTS, *IGNORED)
    # The other keys of LLM-Server's file are settings, which have been checked as such.
    unknown = [] if llm_server.is_one(found) else [f'"{key}"' for key in found if key not in known]
    warnings = [f"unknown {', '.join(unknown)}: ignored"] if unknown else []
    servers: dict[str, RawServer] = {}
    for root in roots:
        for server in _servers(root, found[root]):
            if server.name in servers:
                warnings.append(f'{server.place} is ignored: the name "{server.name}" is used twice')
            else:
                servers[server.name] = server
    defaults = {key: found[key] for key in DEFAULTS if key in found}
    return RawFile(servers=tuple(servers.values()), defaults=defaults, warnings=tuple(warnings))


def _servers(root: str, found: Any) -> Iterator[RawServer]:
    if root == "mcp" and isinstance(found, dict) and found and set(found) <= {"servers", *IGNORED}:
        found = found.get("servers", {})
    if isinstance(found, dict):
        for name, fields in found.items():
            yield RawServer(name=str(name), place=f'{root}["{name}"]', fields=fields)
    elif isinstance(found, list):
        for number, fields in enumerate(found):
            yield _of_list(f"{root}[{number}]", fields)
    elif found is not None:
        raise ValueError(f'"{root}": expected servers, each with a name')


def _of_list(place: str, fields: Any) -> RawServer:
    """A server of the list form, in which ``source`` may hold what says how it is reached."""
    name = fields.get("name") or fields.get("id") if isinstance(fields, dict) else None
    if not isinstance(name, str):
        raise ValueError(f'{place}: "name" is missing')  # noqa: TRY004  (a ValueError by contract)
    source = fields.get("source")
    if isinstance(source, dict):
        fields = {**{key: value for key, value in fields.items() if key != "source"}, **source}
    return RawServer(name=name, place=place, fields=fields)
