"""Examples of what the operations on tools take and give, for every description of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Example = Mapping[str, Any]

OF_SERVER: Final[Example] = {"server": "weather"}
SERVER: Final[Example] = {"name": "weather"}
TOOLS: Final[Example] = {
    "object": "list",
    "data": [
        {
            "type": "function",
            "function": {
                "name": "weather_forecast",
                "description": "The weather of the next days.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
            "server": "weather",
            "tool": "forecast",
            "annotations": {"readOnlyHint": True, "title": "Forecast"},
            "approval": "auto",
        }
    ],
}
_READY: Final[Example] = {
    "name": "weather",
    "state": "ready",
    "transport": "stdio",
    "tools": 1,
    "tool_problems": [
        {
            "tool": "radar",
            "location": "#/inputSchema/properties/area/type",
            "message": "'str' is none of array, boolean, integer, null, number, object, string",
            "is_offered": False,
        }
    ],
    "protocol_version": "2026-07-28",
    "server_name": "mcp-weather",
    "server_version": "1.4.0",
    "instructions": None,
    "restarts": 0,
    "last_error": None,
    "why_disabled": None,
    "pid": 4711,
    "in_flight": 0,
    "calls": 12,
    "failed_calls": 1,
    "latency_p50_seconds": 0.21,
    "latency_last_seconds": 0.19,
    "connect_seconds": 0.64,
    "ready_since": 1767225600.0,
    "stderr": ["weather: listening"],
}
_GONE: Final[Example] = {
    **_READY,
    "protocol_version": None,
    "server_name": None,
    "server_version": None,
    "pid": None,
    "ready_since": None,
}
SERVERS: Final[Example] = {"object": "list", "data": [_READY], "config": "/srv/mcp.json", "config_error": None}
CONNECTING: Final[Example] = {**_GONE, "state": "connecting"}
DISABLED: Final[Example] = {**_GONE, "state": "disabled"}
CALL: Final[Example] = {"name": "weather_forecast", "arguments": {"city": "Paris"}}
OUTCOME: Final[Example] = {
    "name": "weather_forecast",
    "server": "weather",
    "tool": "forecast",
    "is_error": False,
    "code": None,
    "text": "Sunny, 24 degrees.",
    "content": [{"type": "text", "text": "Sunny, 24 degrees."}],
    "structured": None,
    "seconds": 0.19,
    "was_cut": False,
    "was_retried": False,
}
RESOURCES: Final[Example] = {
    "object": "list",
    "data": [
        {
            "server": "weather",
            "uri": "weather://{city}/history",
            "name": "history",
            "title": "History",
            "description": "The weather of the last ten years.",
            "media_type": "text/csv",
            "size": None,
            "is_template": True,
        }
    ],
    "errors": {},
}
READ: Final[Example] = {"server": "weather", "uri": "weather://paris/history"}
CONTENTS: Final[Example] = {
    "server": "weather",
    "contents": [
        {"uri": "weather://paris/history", "media_type": "text/csv", "text": "day,degrees\n1,4\n", "blob": None}
    ],
}
PROMPTS: Final[Example] = {
    "object": "list",
    "data": [
        {
            "server": "weather",
            "name": "pack",
            "title": "What to pack",
            "description": "A list for a suitcase.",
            "arguments": [{"name": "city", "description": "Where to.", "is_required": True}],
        }
    ],
    "errors": {},
}
PROMPT: Final[Example] = {"server": "weather", "name": "pack", "arguments": {"city": "Paris"}}
FILLED: Final[Example] = {
    "server": "weather",
    "name": "pack",
    "description": "A list for a suitcase.",
    "messages": [{"role": "user", "content": "What do I pack for Paris?"}],
}
APPROVAL: Final[Example] = {"id": "k3Jv0bq2xTfW9sYh", "approve": True}
ELICITATION: Final[Example] = {"id": "k3Jv0bq2xTfW9sYh", "action": "accept", "content": {"city": "Paris"}}
ANSWERED: Final[Example] = {"success": True, "id": "k3Jv0bq2xTfW9sYh"}
