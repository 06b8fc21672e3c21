"""``tool_choice``, enforced by the tools that the engine gets rather than left to it; and calls from forced JSON.

So is ``parallel_tool_calls: false``, where the engine writes several calls nevertheless.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import orjson
from msgspec.structs import replace

from modelhost.chat.structured_output import VIOLATED
from modelhost.errors import InvalidRequest
from modelhost.exchange.events import (
    Begin,
    ChoiceEvent,
    CustomCallPiece,
    Event,
    Finish,
    FinishDetails,
    Piece,
    Text,
    ToolCallPiece,
)
from modelhost.exchange.requests import ChatRequest


def enforce_tool_choice(request: ChatRequest) -> ChatRequest:
    """Return ``request`` such that the engine needs to support ``auto`` and ``required`` only.

    * ``none``: all tools are removed.
    * A named tool: the other tools are removed, and a call is required.
    * Allowed tools: the other tools are removed.
    * ``required`` and ``auto``: unchanged; ``auto`` without tools is removed.

    Raises:
        InvalidRequest: a call is required without tools, or of an unknown tool.
    """
    if request.allowed_tools is not None:
        request = _narrowed(request, request.allowed_tools)
    tools, name = request.tools or (), request.named_tool
    if name is None and request.tool_choice in (None, "auto"):
        return request if tools else _without_tools(request)
    if request.tool_choice == "none":
        return _without_tools(request)
    if not tools:
        raise InvalidRequest("tool_choice requires a call, but the request has no tools.", param="tool_choice")
    if name is None:
        return request
    named = _narrowed(request, frozenset({name}))
    return replace(named, tool_choice="required", named_tool=None)


def _narrowed(request: ChatRequest, names: frozenset[str]) -> ChatRequest:
    tools = request.tools or ()
    if unknown := names.difference(tool.name for tool in tools):
        named, offered = ", ".join(f'"{name}"' for name in sorted(unknown)), ", ".join(tool.name for tool in tools)
        raise InvalidRequest(f"tool_choice names {named}, which is none of the tools: {offered}.", param="tool_choice")
    return replace(request, tools=tuple(tool for tool in tools if tool.name in names), allowed_tools=None)


def requires_call(request: ChatRequest) -> bool:
    """Return whether ``request``, after :func:`enforce_tool_choice`, requires a call."""
    return request.tool_choice == "required"


def _without_tools(request: ChatRequest) -> ChatRequest:
    if request.tools is None and request.tool_choice is None and request.parallel_tool_calls is None:
        return request
    return replace(request, tools=None, tool_choice=None, named_tool=None, parallel_tool_calls=None)


TYPE: Final = {"type": "function"}
NO_CALL: Final = FinishDetails(
    kind=VIOLATED, message="the model has made no call, which tool_choice demands: no schema of a tool held it to one"
)
_OPENING = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\S)')


class ForcedCallRewriter:
    """Turns the text of one choice into a call; text that is no call, because it was cut off, is dropped.

    It is for an engine that cannot force a call: its model generates ``{"name": ..., "arguments": {...}}``, in this
    order. An answer that ends by itself without a call says so in its finish details.
    """

    def __init__(self) -> None:
        self._text = ""
        self._arguments_at: int | None = None
        self._sent = 0

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with parts of the call in place of the text."""
        rewritten: list[Event] = []
        for event in piece:
            if isinstance(event, Text):
                self._text += event.text
                part = self._part(event, is_last=any(isinstance(other, Finish) for other in piece))
                rewritten.append(part or Begin(envelope=event.envelope, choice=event.choice, role=None))
            elif isinstance(event, Finish):
                if not any(isinstance(other, Text) for other in piece) and (rest := self._part(event, is_last=True)):
                    rewritten.append(rest)
                rewritten.append(self._ended(event))
            else:
                rewritten.append(event)
        return tuple(rewritten)

    def _ended(self, event: Finish) -> Finish:
        if event.reason != "stop":
            return event
        if self._arguments_at is not None:
            return replace(event, reason="tool_calls")
        return event if event.details is not None else replace(event, details=NO_CALL)

    def _part(self, of: ChoiceEvent, *, is_last: bool) -> ToolCallPiece | None:
        """Return the new part of the call, as one piece in place of the event ``of``."""
        named: dict[str, Any] = {}
        if self._arguments_at is None:
            opening = _OPENING.match(self._text)
            if opening is None:
                return None
            self._arguments_at = opening.end()
            named = {"id": f"call_{secrets.token_hex(12)}", "name": orjson.loads(opening[1]), "call_extra": TYPE}
        arguments = self._text[self._arguments_at :]
        ready = arguments if is_last and not self._is_whole() else _without_outer_brace(arguments)
        new = ready[self._sent :]
        if not new and not named:
            return None
        self._sent += len(new)
        extra = of.extra if isinstance(of, Text) else None
        return ToolCallPiece(envelope=of.envelope, choice=of.choice, index=0, arguments=new, extra=extra, **named)

    def _is_whole(self) -> bool:
        try:
            orjson.loads(self._text)
        except orjson.JSONDecodeError:
            return False
        return True


def _without_outer_brace(text: str) -> str:
    """Return ``text`` without what may be the closing brace of the outer object."""
    return text.rstrip().removesuffix("}").rstrip()


CALLS: Final = (ToolCallPiece, CustomCallPiece)


class SingleCallRewriter:
    """Leaves out all calls of one choice but the first (``parallel_tool_calls: false``)."""

    def __init__(self) -> None:
        self._first: int | None = None

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` without later calls; it stays one, even if there is nothing else in it."""
        kept = []
        for event in piece:
            if isinstance(event, CALLS):
                if self._first is None:
                    self._first = event.index
                if event.index != self._first:
                    continue
            kept.append(event)
        if len(kept) == len(piece):
            return piece
        if not kept:
            return (Begin(envelope=piece[0].envelope, role=None),)
        return (replace(kept[0], extra=piece[0].extra), *kept[1:])
