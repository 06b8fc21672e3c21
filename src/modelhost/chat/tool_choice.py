"""``tool_choice``, enforced by what the engine is shown: a choice that it might overlook becomes one it cannot miss."""

from __future__ import annotations

from typing import Any

from modelhost.errors import InvalidRequest


def enforce(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` so that the engine needs to know ``auto`` and ``required`` only.

    * ``none``: the tools are taken out, so that there is nothing to call.
    * a named tool: only that one is left, and a call is required.
    * ``required`` and ``auto``: as they are. ``auto`` without tools: taken out.

    Raises:
        InvalidRequest: a call is required without tools, or of a tool that is not there.
    """
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    if choice is None or choice == "auto":
        return body if tools else _without(body, "tools", "tool_choice", "parallel_tool_calls")
    if choice == "none":
        return _without(body, "tools", "tool_choice", "parallel_tool_calls")
    if not tools:
        raise InvalidRequest("tool_choice asks for a call, but the request brings no tools.", param="tool_choice")
    if choice == "required":
        return body
    name = choice["function"]["name"]
    named = [tool for tool in tools if tool["function"]["name"] == name]
    if not named:
        offered = ", ".join(tool["function"]["name"] for tool in tools)
        raise InvalidRequest(f'tool_choice names "{name}", which is none of the tools: {offered}.', param="tool_choice")
    return {**body, "tools": named, "tool_choice": "required"}


def is_forced(body: dict[str, Any]) -> bool:
    """Return whether ``body`` (as sent to the engine) demands a call."""
    return body.get("tool_choice") == "required"


def _without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in names}
