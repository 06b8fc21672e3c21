"""``tool_choice``, enforced by what the engine is shown: a choice that it might overlook becomes one it cannot miss."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import orjson
from msgspec.structs import replace

from modelhost.chat.structured_output import VIOLATED
from modelhost.errors import InvalidRequest
from modelhost.exchange.events import Begin, ChoiceEvent, Event, Finish, FinishDetails, Piece, Text, ToolCallPiece
from modelhost.exchange.requests import ChatRequest


def enforce_tool_choice(request: ChatRequest) -> ChatRequest:
    """Return ``request`` so that the engine needs to know ``auto`` and ``required`` only.

    * ``none``: the tools are taken out, so that there is nothing to call.
    * a named tool: only that one is left, and a call is required.
    * allowed tools: only those are left.
    * ``required`` and ``auto``: as they are. ``auto`` without tools: taken out.

    Raises:
        InvalidRequest: a call is required without tools, or of a tool that is not there.
    """
    if request.allowed_tools is not None:
        request = _narrowed(request, request.allowed_tools)
    tools, name = request.tools or (), request.named_tool
    if name is None and request.tool_choice in (None, "auto"):
        return request if tools else _without_tools(request)
    if request.tool_choice == "none":
        return _without_tools(request)
    if not tools:
        raise InvalidRequest("tool_choice asks for a call, but the request brings no tools.", param="tool_choice")
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
    """Return whether ``request``, once it is enforced, demands a call."""
    return request.tool_choice == "required"


def excludes_tools(request: ChatRequest) -> bool:
    """Return whether ``request``, as the client or the host has it, says that there are no tools."""
    return request.tool_choice == "none" or request.tools == ()


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
    """Rewrites the pieces of one choice. What does not become a call, because the answer is cut, is left away.

    An answer that ends by itself without a call says so.
    """

    def __init__(self) -> None:
        self._text = ""
        self._arguments_at: int | None = None
        self._sent = 0

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with a part of the call in place of the text."""
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
        """Return what is new of the call, as one piece in the place of the event ``of``."""
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
    """Return ``text`` without what may turn out to be the end of the object around the arguments."""
    return text.rstrip().removesuffix("}").rstrip()
