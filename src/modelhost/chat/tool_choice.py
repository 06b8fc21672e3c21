"""``tool_choice``, enforced by what the engine is shown: a choice that it might overlook becomes one it cannot miss."""

from __future__ import annotations

from msgspec.structs import replace

from modelhost.errors import InvalidRequest
from modelhost.exchange.requests import ChatRequest


def enforced(request: ChatRequest) -> ChatRequest:
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


def is_forced(request: ChatRequest) -> bool:
    """Return whether ``request``, once it is enforced, demands a call."""
    return request.tool_choice == "required"


def says_none(request: ChatRequest) -> bool:
    """Return whether ``request``, as the client or the host has it, says that there are no tools."""
    return request.tool_choice == "none" or request.tools == ()


def _without_tools(request: ChatRequest) -> ChatRequest:
    if request.tools is None and request.tool_choice is None and request.parallel_tool_calls is None:
        return request
    return replace(request, tools=None, tool_choice=None, named_tool=None, parallel_tool_calls=None)
