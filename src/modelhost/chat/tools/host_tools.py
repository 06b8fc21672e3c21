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
from modelhost.tools.selection import ALL, Selection
from modelhost.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from modelhost.tools.offered import OfferedTool
    from modelhost.tools.patience import Starting
    from modelhost.tools.status import MissingServer

log = get_logger(__name__)

WITHOUT_TOOLS = ("response_format", "json_schema", "grammar", "structured_outputs", "logprobs")
"""Fields that an engine cannot honour together with tools; a request with one gets tools only if it asks for them."""


def selection_for(request: ChatRequest, toolbox: Toolbox) -> Selection | None:
    """Return which tools the host gives to the model and runs for ``request``.

    ``None`` if the request brings its own, or says ``"tools": []`` or ``"tool_choice": "none"``.

    Raises:
        InvalidRequest: ``mcp``, or a ``tool_choice`` that needs the host's tools, together with something that excludes
            them; ``mcp`` together with tools of the client's own.
    """
    options = request.mcp
    if options is not None:
        _check_alone(request)
    if _why_none(request, toolbox) is not None:
        _check_no_call(request, toolbox)
        return None
    if options is None or (options.servers is None and options.tools is None):
        return ALL
    return Selection(servers=options.servers, tools=options.tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedTools:
    """The tools of the host that a request gets, and the servers whose tools it should have got too."""

    tools: tuple[OfferedTool, ...] = ()
    missing: tuple[MissingServer, ...] = ()


NONE: Final = GrantedTools()


def granted_tools(request: ChatRequest, toolbox: Toolbox) -> GrantedTools:
    """Return what ``request`` gets of the host's tools as they are now.

    Raises:
        McpServerNotFound, ToolNotFound: ``mcp`` names what is not there.
        InvalidRequest: as :func:`selection_for` has it.
    """
    selection = selection_for(request, toolbox)
    if selection is None:
        if has_debug() and toolbox.hub.server_names():
            log.debug("tools_not_offered", reason=_why_none(request, toolbox))
        return NONE
    offered = toolbox.hub.offered(selection)
    if has_debug():
        reason = "all there are" if selection is ALL else "mcp of the request"
        log.debug("tools_offered", servers=dict(Counter(tool.server for tool in offered)), reason=reason)
    return GrantedTools(tools=offered, missing=toolbox.hub.missing(selection))


def _why_none(request: ChatRequest, toolbox: Toolbox) -> str | None:
    """Return why the host gives the model no tools; ``None``: it does."""
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
        names = ", ".join(["n", *WITHOUT_TOOLS])
        raise InvalidRequest(f'"mcp" cannot be combined with any of {names}.', param="mcp")


def _check_no_call(request: ChatRequest, toolbox: Toolbox) -> None:
    """Refuse a request that demands a call, and also what keeps the host from giving it any of its tools."""
    is_demanded = request.tool_choice == "required" or request.named_tool is not None
    if not is_demanded or request.tools is not None or not toolbox.is_injected or not toolbox.hub.server_names():
        return
    if (name := _excluding(request)) is not None:
        raise InvalidRequest(
            f"tool_choice asks for a call, but the request brings no tools, and {name} keeps those of the host away: "
            f"it cannot be combined with them. Leave out {name} or tool_choice, or send tools of your own.",
            param="tool_choice",
        )


def _excluding(request: ChatRequest) -> str | None:
    """Return the field of ``request``, as the client has sent it, that cannot be had together with tools."""
    if request.n > 1:
        return "n"
    if request.output is not None and request.output.kind != "text":
        return request.constraint_field or "response_format"
    if request.logprobs:
        return "logprobs"
    found = next((name for name in WITHOUT_TOOLS if request.extra.get(name)), None)
    return found and (request.constraint_field or found)


def without_tools(request: ChatRequest, toolbox: Toolbox) -> ChatRequest:
    """Return ``request``, which gets none of the host's tools, as one for a server that may have tools of its own.

    It says that there are none, unless the client leaves that open and this host has no say in it either. Choices are
    asked for one by one, so that the server cannot see that several are wanted, which excludes tools there as here.
    """
    if request.tools is not None:
        return request
    has_say = toolbox.path is not None and bool(toolbox.hub.server_names())
    is_settled = has_say or request.mcp is not None or _excluding(request) is not None
    return replace(request, tools=()) if is_settled else request


def with_tools(request: ChatRequest, tools: Sequence[OfferedTool]) -> ChatRequest:
    """Return ``request`` with the tools, and without the options that chose them."""
    return replace(request, tools=tuple(tool.asked for tool in tools), mcp=None)


MISSING: Final = "tools-missing"
"""The note, followed by ``=`` and the server's name as in an address: any text can be a name, and not all a header."""


def waiting(model: str, starting: Starting) -> Piece:
    """Return the first piece of an answer that waits for servers; the id of the answer itself is not known yet."""
    envelope = Envelope(id=f"chatcmpl-{uuid4().hex}", created=int(time.time()), model=model)
    return (WaitingForTools(envelope=envelope, servers=tuple(starting.servers), seconds=round(starting.seconds, 1)),)


def note_missing(model: str, missing: Sequence[MissingServer]) -> None:
    """Have the header of the answer, and the log, say which servers are missing."""
    if missing:
        notes = Notes(model)
        for each in missing:
            notes.tell(f"{MISSING}={quote(each.server)}")


def with_missing_servers(pieces: PieceStream, missing: Sequence[MissingServer]) -> PieceStream:
    """Return ``pieces``, with one about the missing servers before the first if there are any.

    It comes together with that: what is wrong with a request is still an ordinary error.
    """
    return _told(pieces, missing) if missing else pieces


async def _told(pieces: PieceStream, missing: Sequence[MissingServer]) -> PieceStream:
    is_told = False
    async with aclosing(pieces):
        async for piece in pieces:
            if not is_told:
                is_told = True
                envelope = piece[0].envelope
                shown = Envelope(id=envelope.id, created=envelope.created, model=envelope.model, kind=envelope.kind)
                yield (ToolsMissing(envelope=shown, servers=tuple((each.server, each.state) for each in missing)),)
            yield piece
