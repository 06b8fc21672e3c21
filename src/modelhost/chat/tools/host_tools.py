"""The host's own tools in a request: whether it gets any, which ones, and which servers are missing."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from uuid import uuid4

from msgspec.structs import replace

from modelhost import lazy
from modelhost.chat.notes import Notes
from modelhost.errors import InvalidRequest
from modelhost.exchange.events import (
    Envelope,
    HostEvent,
    ListedTool,
    Piece,
    PieceStream,
    ToolsListed,
    ToolsMissing,
    WaitingForTools,
)
from modelhost.exchange.requests import ChatRequest, CompletionRequest, RemoteMcpServer
from modelhost.logs import get_logger, has_debug
from modelhost.tools.names import ALL, Selection
from modelhost.tools.status import ServerState
from modelhost.tools.toolbox import Toolbox
from modelhost.workers.worker import Worker

if TYPE_CHECKING:
    from modelhost.chat.tools.answer_calls import ToolRunner
    from modelhost.tools.catalogue import OfferedTool
    from modelhost.tools.failures import StartingServers
    from modelhost.tools.hub import ToolHub
    from modelhost.tools.status import MissingServer

log = get_logger(__name__)

EXCLUDING_FIELDS: Final = ("json_schema", "grammar", "structured_outputs", "logprobs")
"""Fields that engines cannot honour together with tools; a request with one gets no host tools, nor one with a format
of the answer, unless it selects them.
"""
USABLE: Final = (ServerState.READY, ServerState.RESTARTING)
"""A call of a server that is being restarted waits for it."""
NOT_READY: Final = "The MCP server is not ready: %s."


LEFT_OUT: Final = "tools-left-out"
"""The note of an answer without the host's tools, because the model cannot have any."""


def selection_for(request: ChatRequest, toolbox: Toolbox, *, calls_tools: bool | None = None) -> Selection | None:
    """Return which of its tools the host offers to the model and runs for ``request``.

    ``None`` if the request has ``"tools": []``, tools of its own without ``mcp``, or ``"tool_choice": "none"``. With
    the latter they may have to be listed all the same: each turn then excludes them. ``None`` also if the model cannot
    have tools (``calls_tools`` is false), unless the request wants them.

    Raises:
        InvalidRequest: ``mcp``, or a ``tool_choice`` that needs host tools, comes with a field that excludes them.
    """
    options = request.mcp
    if options is not None:
        _check_alone(request)
    if _reason_for_none(request, toolbox, calls_tools) is not None:
        _check_no_call(request, toolbox)
        return None
    if options is None or (options.servers is None and options.tools is None):
        return ALL
    return Selection(servers=options.servers, tools=options.tools, denied=options.denied_tools, field=options.field)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedTools:
    """The host's tools that a request gets, and the servers whose tools are missing."""

    tools: tuple[OfferedTool, ...] = ()
    missing: tuple[MissingServer, ...] = ()
    without_tools: tuple[tuple[str, ServerState], ...] = ()
    """Servers that the request names, of which it gets no tools although none of them is missing, with their states."""
    runner: ToolRunner | None = None
    """Runs them; ``None``: the host's hub does."""
    are_left_out: bool = False
    """Whether it gets none because the model cannot have any."""


NONE: Final = GrantedTools()


def remote_servers(request: ChatRequest | CompletionRequest, toolbox: Toolbox) -> Sequence[RemoteMcpServer]:
    """Return the servers that ``request`` names by address, if it gets tools; raises as :func:`selection_for`."""
    if not isinstance(request, ChatRequest) or request.mcp is None or not request.mcp.remote:
        return ()
    return () if selection_for(request, toolbox) is None else request.mcp.remote


def granted_tools(
    request: ChatRequest, toolbox: Toolbox, own: ToolHub | None = None, *, calls_tools: bool | None = None
) -> GrantedTools:
    """Return the host's tools for ``request``, as they are now, and those of its ``own`` servers.

    ``calls_tools`` is whether the model can have tools, if that is known.

    Raises:
        McpServerNotFound, ToolNotFound: ``mcp`` names a server or a tool that does not exist.
        InvalidRequest: see :func:`selection_for`; or a tool of an own server has the name of one of the host's.
    """
    selection = selection_for(request, toolbox, calls_tools=calls_tools)
    if selection is None:
        reason = _reason_for_none(request, toolbox, calls_tools)
        if has_debug() and toolbox.hub.server_names():
            log.debug("tools_not_offered", reason=reason)
        return GrantedTools(are_left_out=bool(toolbox.hub.offered(ALL))) if reason == CALLS_NONE else NONE
    offered = toolbox.hub.offered(selection)
    if has_debug():
        reason = "all there are" if selection is ALL else "mcp of the request"
        log.debug("tools_offered", servers=dict(Counter(tool.server for tool in offered)), reason=reason)
    missing = toolbox.hub.missing(selection)
    empty = _without_tools(selection, toolbox.hub, offered) if request.host_calls.lists_tools else ()
    if own is None:
        return GrantedTools(tools=offered, missing=missing, without_tools=empty)
    remote = () if request.mcp is None else request.mcp.remote
    tools = lazy.request_servers.RequestTools(toolbox.hub, offered, own, remote)
    empty += _without_tools(ALL, own, tools.offered)
    return GrantedTools(tools=tools.offered, missing=missing, without_tools=empty, runner=tools)


def _without_tools(
    selection: Selection, hub: ToolHub, offered: Sequence[OfferedTool]
) -> tuple[tuple[str, ServerState], ...]:
    """Return the servers of ``selection`` that have no tools in ``offered``, and are not missing either."""
    known = {tool.server for tool in offered} | {each.server for each in hub.missing(selection)}
    wanted = (name for name in hub.server_names() if selection.includes_server(name) and name not in known)
    return tuple((name, hub.status(name).state) for name in wanted)


def are_default(request: ChatRequest, toolbox: Toolbox) -> bool:
    """Whether the host's tools in ``request`` are those that it adds by itself: the request names none, and no call."""
    if (
        not toolbox.is_injected
        or request.tool_choice == "required"
        or request.named_tool is not None
        or request.allowed_tools is not None
    ):
        return False
    options = request.mcp
    return options is None or (options.servers is None and options.tools is None and not options.remote)


def without_uncallable(worker: Worker, request: ChatRequest, default: Collection[str], notes: Notes) -> ChatRequest:
    """Return ``request`` for the model of ``worker``: if that cannot have tools, without those called ``default``.

    Before a model has been loaded for the first time, nobody knows. The client's own tools are left to the engine,
    which refuses them.
    """
    if not default or worker.ready.calls_tools is not False:
        return request
    notes.add(LEFT_OUT)
    return replace(request, tools=tuple(tool for tool in request.tools or () if tool.name not in default))


CALLS_NONE: Final = "the model can be shown none"


def _reason_for_none(request: ChatRequest, toolbox: Toolbox, calls_tools: bool | None) -> str | None:
    """Return why the host offers no tools, or ``None`` if it does."""
    if request.tools == () or (request.tools is not None and request.mcp is None):
        return "the request says which it has"
    if request.tool_choice == "none" and not request.host_calls.lists_tools:
        return "tool_choice is none"
    if request.mcp is None and not toolbox.is_injected:
        return "the host adds none by itself"
    if request.mcp is None and _excluding(request) is not None:
        return "what the request wants cannot be had with tools"
    if calls_tools is False and are_default(request, toolbox):
        return CALLS_NONE
    return None


def _check_alone(request: ChatRequest) -> None:
    """Refuse what cannot be had in a loop; a format of the answer can (:mod:`modelhost.chat.tools.answer_format`)."""
    if _excluding(replace(request, output=None)) is not None:
        names = ", ".join(["n", *EXCLUDING_FIELDS])
        raise InvalidRequest(f'"mcp" cannot be combined with any of {names}.', param="mcp")


def _check_no_call(request: ChatRequest, toolbox: Toolbox) -> None:
    """Refuse a request that requires a call but has a field that excludes the host's tools."""
    is_required = request.tool_choice == "required" or request.named_tool is not None
    if not is_required or request.tools is not None or not toolbox.is_injected or not toolbox.hub.server_names():
        return
    if (name := _excluding(request)) is not None:
        raise InvalidRequest(
            f"tool_choice requires a call, but the request has no tools, and {name} keeps those of the host away: "
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
    """Return ``request`` with ``tools`` in place of the options that selected them, and behind the client's own.

    Raises:
        InvalidRequest: a tool of the client has the name of one of them.
    """
    own, names = request.tools or (), {tool.as_request_tool.name for tool in tools}
    for place, tool in enumerate(own):
        if tool.name in names:
            raise InvalidRequest(
                f'tools: the host has a tool "{tool.name}", too. Rename yours, or leave that of the host out of "mcp".',
                param=f"tools[{place}]",
            )
    return replace(request, tools=(*own, *(tool.as_request_tool for tool in tools)), mcp=None)


MISSING_NOTE: Final = "tools-missing"
"""Followed by ``=`` and the server's name, percent-encoded: not every name could be part of a header."""


def waiting_piece(model: str, starting: StartingServers) -> Piece:
    """Return the first piece of an answer that waits for servers; it has an id of its own."""
    envelope = Envelope(id=f"chatcmpl-{uuid4().hex}", created=int(time.time()), model=model)
    return (WaitingForTools(envelope=envelope, servers=tuple(starting.servers), seconds=round(starting.seconds, 1)),)


def note_missing(model: str, given: GrantedTools) -> None:
    """Report missing servers, or that the model cannot have tools, in a header of the answer and in the log."""
    if given.are_left_out:
        Notes(model).add(LEFT_OUT)
    elif given.missing:
        notes = Notes(model)
        for each in given.missing:
            notes.add(f"{MISSING_NOTE}={quote(each.server)}")


def first_events(request: ChatRequest, given: GrantedTools) -> Sequence[HostEvent]:
    """Return the events about the tools with which the answer begins: what is missing, and if asked for, what is there.

    Tools are listed by server, in the order in which the model gets them.
    """
    missing = tuple((each.server, each.state) for each in given.missing)
    events: list[HostEvent] = [ToolsMissing(servers=missing)] if missing else []
    if not request.host_calls.lists_tools:
        return events
    for server, tools in itertools.groupby(given.tools, key=lambda tool: tool.server):
        events.append(ToolsListed(server=server, tools=tuple(map(_listed, tools))))
    events += [ToolsListed(server=name, error=NOT_READY % state) for name, state in missing]
    for server, state in given.without_tools:
        events.append(ToolsListed(server=server, error=None if state in USABLE else NOT_READY % state))
    return events


def _listed(tool: OfferedTool) -> ListedTool:
    return ListedTool(
        name=tool.name,
        tool=tool.tool,
        description=tool.as_request_tool.description,
        schema=tool.as_request_tool.parameters or {},
        annotations=tool.annotations,
    )


def with_first_events(pieces: PieceStream, first: Sequence[HostEvent]) -> PieceStream:
    """Return ``pieces``, preceded by one for each event of ``first``.

    These come with the first piece, so that an error before that is still an ordinary one.
    """
    return _preceded(pieces, first) if first else pieces


async def _preceded(pieces: PieceStream, first: Sequence[HostEvent]) -> PieceStream:
    has_begun = False
    async with aclosing(pieces):
        async for piece in pieces:
            if not has_begun:
                has_begun = True
                envelope = piece[0].envelope
                own = Envelope(id=envelope.id, created=envelope.created, model=envelope.model, kind=envelope.kind)
                for event in first:
                    yield (replace(event, envelope=own),)
            yield piece
