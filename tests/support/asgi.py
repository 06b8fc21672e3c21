"""One request to an ASGI application, without a socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(slots=True)
class Answered:
    """What an application answered."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    messages: list[Message] = field(default_factory=list)


async def ask(
    app: ASGIApp, method: str = "GET", path: str = "/", *, headers: Mapping[str, str] | None = None, body: Any = b""
) -> Answered:
    """Send one request; ``body`` may be a list of the parts in which it comes. Then the client leaves."""
    parts = body if isinstance(body, list) else [body]
    coming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": place < len(parts)} for place, part in enumerate(parts, 1)
    ]
    answered = Answered()

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answered.messages.append(message)
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answered.body += message.get("body", b"")

    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope: Scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "headers": pairs}
    await app(scope, receive, send)
    return answered


async def greeting(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An application that answers 200 ``hello``."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
