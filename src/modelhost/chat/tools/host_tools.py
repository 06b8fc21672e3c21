"""The host's own tools in a request: whether it gets any, which ones, and which servers are missing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from uuid import uuid4

from msgspec.structs import replace

from modelhost.chat.notes import Notes
from modelhost.errors import InvalidRequest
from modelhost.exchange.events import Envelope, Piece, PieceStream, ToolsMissing, WaitingForTools
from modelhost.exchange.requests import ChatRequest
from modelhost.logs import get_logger, has_debug
from modelhost.tools.names import ALL, Selection
from modelhost.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from modelhost.tools.catalogue import OfferedTool
    from modelhost.tools.restarts import StartingServers
    from modelhost.tools.status import MissingServer

log = get_logger(__name__)

EXCLUDING_FIELDS: Final = ("response_format", "json_schema", "grammar", "structured_outputs", "logprobs")
"""Fields that engines cannot honour together with tools; a request with one gets no host tools by default."""


def selection_for(request: ChatRequest, toolbox: Toolbox) -> Selection | None:
    """Return which of its tools the host offers to the model and runs for ``request``.

    ``None`` if the request has tools of its own, ``"tools": []`` or ``"tool_choice": "none"``.

    Raises:
        InvalidRequest: ``mcp``, or a ``tool_choice`` that needs host tools, comes with a field that excludes them; or
            ``mcp`` comes with tools of the client.
    """
    options = request.mcp
    if options is not None:
        _check_alone(request)
    if _reason_for_none(request, toolbox) is not None:
        _check_no_call(request, toolbox)
        return None
    if options is None or (options.servers is None and options.tools is None):
        return ALL
    return Selection(servers=options.servers, tools=options.tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedTools:
    """The host's tools that a request gets, and the servers whose tools are missing."""

    tools: tuple[OfferedTool, ...] = ()
    missing: tuple[MissingServer, ...] = ()


NONE: Final = GrantedTools()


def granted_tools(request: ChatRequest, toolbox: Toolbox) -> GrantedTools:
    """Return the host's tools for ``request``, as they are now.

    Raises:
        McpServerNotFound, ToolNotFound: ``mcp`` names a server or a tool that does not exist.
        InvalidRequest: see :func:`selection_for`.
    """
    selection = selection_for(request, toolbox)
    if selection is None:
        if has_debug() and toolbox.hub.server_names():
            log.debug("tools_not_offered", reason=_reason_for_none(request, toolbox))
        return NONE
    offered = toolbox.hub.offered(selection)
    if has_debug():
        reason = "all there are" if selection is ALL else "mcp of the request"
        log.debug("tools_offered", servers=dict(Counter(tool.server for tool in offered)), reason=reason)
    return GrantedTools(tools=offered, missing=toolbox.hub.missing(selection))


def _reason_for_none(request: ChatRequest, toolbox: Toolbox) -> str | None:
    """Return why the host offers no tools, or ``None`` if it does."""
    if request.tools is not None:
        return "the request says which it has"
    if request.tool_choice == "none":
        return "tool_choice is none"
    if request.mcp is None and not toolbox.is_injected:
        return "the host adds none by itself"
    if request.mcp is None and _excluding(request) is not None:
        return "what the request wants cannot be had with tools"
    return None


def _check_alone(request: ChatRequest) -> None:
    if request.tools:
        raise InvalidRequest('Give either "tools", which you run yourself, or "mcp", which the host runs.', param="mcp")
    if _excluding(request) is not None:
        names = ", ".join(["n", *EXCLUDING_FIELDS])
        raise InvalidRequest(f'"mcp" cannot be combined with any of {names}.', param="mcp")


def _check_no_call(request: ChatRequest, toolbox: Toolbox) -> None:
    """Refuse a request that requires a call but has a field that excludes the host's tools."""
    is_required = request.tool_choice == "required" or request.named_tool is not None
    if not is_required or request.tools is not None or not toolbox.is_injected or not toolbox.hub.server_names():
        return
    if (name := _excluding(request)) is not None:
        raise InvalidRequest(
            f"tool_choice asks for a call, but the request brings no tools, and {name} keeps those of the host away: "
            f"it cannot be combined with them. Leave out {name} or tool_choice, or send tools of your own.",
            param="tool_choice",
        )


def _excluding(request: ChatRequest) -> str | None:
    """Return the field of ``request``, by the client's name for it, that excludes tools."""
    if request.n > 1:
        return "n"
    if request.output is not None and request.output.kind != "text":
        return request.constraint_field or "response_format"
    if request.logprobs:
        return "logprobs"
    found = next((name for name in EXCLUDING_FIELDS if request.extra.get(name)), None)
    return found and (request.constraint_field or found)


def without_tools(request: ChatRequest, toolbox: Toolbox) -> ChatRequest:
    """Return ``request``, which gets none of the host's tools, for a remote server that may have tools of its own.

    It gets ``"tools": []``, unless neither the client nor this host decides about tools. Several choices become several
    requests, from which the server could not see that ``n`` excludes tools.
    """
    if request.tools is not None:
        return request
    decides = toolbox.path is not None and bool(toolbox.hub.server_names())
    is_decided = decides or request.mcp is not None or _excluding(request) is not None
    return replace(request, tools=()) if is_decided else request


def with_tools(request: ChatRequest, tools: Sequence[OfferedTool]) -> ChatRequest:
    """Return ``request`` with ``tools`` in place of the options that selected them."""
    return replace(request, tools=tuple(tool.asked for tool in tools), mcp=None)


MISSING_NOTE: Final = "tools-missing"
"""Followed by ``=`` and the server's name, percent-encoded: not every name could be part of a header."""


def waiting_piece(model: str, starting: StartingServers) -> Piece:
    """Return the first piece of an answer that waits for servers; it has an id of its own."""
    envelope = Envelope(id=f"chatcmpl-{uuid4().hex}", created=int(time.time()), model=model)
    return (WaitingForTools(envelope=envelope, servers=tuple(starting.servers), seconds=round(starting.seconds, 1)),)


def note_missing(model: str, missing: Sequence[MissingServer]) -> None:
    """Report missing servers in a header of the answer and in the log."""
    if missing:
        notes = Notes(model)
        for each in missing:
            notes.add(f"{MISSING_NOTE}={quote(each.server)}")


def with_missing_servers(pieces: PieceStream, missing: Sequence[MissingServer]) -> PieceStream:
    """Return ``pieces``, preceded by one about the missing servers, if there are any.

    It comes with the first piece, so that an error before that is still an ordinary one.
    """
    return _announcing(pieces, missing) if missing else pieces


async def _announcing(pieces: PieceStream, missing: Sequence[MissingServer]) -> PieceStream:
    is_announced = False
    async with aclosing(pieces):
        async for piece in pieces:
            if not is_announced:
                is_announced = True
                envelope = piece[0].envelope
                own = Envelope(id=envelope.id, created=envelope.created, model=envelope.model, kind=envelope.kind)
                yield (ToolsMissing(envelope=own, servers=tuple((each.server, each.state) for each in missing)),)
            yield piece
