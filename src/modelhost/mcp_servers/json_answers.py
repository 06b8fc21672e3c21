"""Answers of media as JSON, where the protocol lets a server choose between JSON and a stream of events.

A stream has a whole result in one event, and clients bound events: the Python SDK reads at most 1 MiB of one, which is
less than an image of 1024x1024 pixels. They do not bound JSON. Only a call that asks for progress needs the stream.
https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from starlette.types import Message, Send

from modelhost.mcp_servers.media_tools import GENERATE
from modelhost.operations import llm

MEDIA_TOOLS: Final = frozenset({llm.SPEAK, GENERATE})
CONTENT_TYPE: Final = b"content-type"
DATA: Final = b"data:"


def is_for_json(message: Any) -> bool:
    """Whether ``message`` is a call whose result is media and that asks for no progress."""
    match message:
        case {"method": "tools/call", "params": {"_meta": {"progressToken": _}}}:
            return False
        case {"method": "tools/call", "params": {"name": str(name)}}:
            return name in MEDIA_TOOLS
    return False


class JsonSend:
    """An ASGI ``send`` that writes an answer of events as the JSON of its response; other answers stay as they are.

    A comment, which keeps the connection alive, becomes the blank that JSON may begin with.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._has_events = False
        self._rest = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            self._has_events = headers.get(CONTENT_TYPE, b"").startswith(b"text/event-stream")
            if self._has_events:
                message = {**message, "headers": [*(headers | {CONTENT_TYPE: b"application/json"}).items()]}
        elif self._has_events and message["type"] == "http.response.body":
            *lines, self._rest = (self._rest + message.get("body", b"")).split(b"\n")
            message = {**message, "body": b"".join(map(_as_json, lines))}
        await self._send(message)


def _as_json(line: bytes) -> bytes:
    if line.startswith(b":"):
        return b"\n"
    data = line.removeprefix(DATA).strip() if line.startswith(DATA) else b""
    return b"" if not data or "method" in orjson.loads(data) else data
