"""What HTTP workers of ours have in common: plain ASGI, refusals in llama.cpp's shape, the news that a client left.

Plain, and not a framework, since a worker answers a handful of paths and writes an event for each token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = [(b"content-type", b"application/json; charset=utf-8")]
EVENT_TYPE = [(b"content-type", b"text/event-stream")]
UNSUPPORTED = "unsupported_parameter"
"""The type of an error about a field that the library behind a worker cannot do."""


class Refused(Exception):
    """An answer with an error status; ``body`` is its JSON."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def error_body(status: int, kind: str, message: str, **details: Any) -> dict[str, Any]:
    """Return an error object in llama.cpp's shape."""
    return {"error": {"code": status, "message": message, "type": kind, **details}}


def invalid(message: str, **details: Any) -> Refused:
    return Refused(400, error_body(400, "invalid_request_error", message, **details))


def read_json(raw: bytes) -> dict[str, Any]:
    """Return the body of a request; raises :class:`Refused` for anything but a JSON object."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise invalid(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise invalid("the body has to be a JSON object")
    return body


async def read_body(receive: Receive) -> bytes:
    """Return the whole body of a request."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def authorization(scope: Scope) -> bytes:
    """Return the value of the request's ``Authorization``; empty without one."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value)
    return b""


async def while_connected(receive: Receive, work: Awaitable[None]) -> bool:
    """Do ``work`` until it is done (true) or the client leaves (false)."""
    worker = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_until_disconnect(receive))
    await asyncio.wait((worker, watcher), return_when=asyncio.FIRST_COMPLETED)
    finished = worker.done()
    for task in (worker, watcher):
        task.cancel()
    (outcome, _) = await asyncio.gather(worker, watcher, return_exceptions=True)
    if finished and isinstance(outcome, BaseException):
        raise outcome
    return finished


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
