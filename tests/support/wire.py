"""Connections of the HTTP server whose transports are held in memory."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from modelhost.http.errors import error_answer
from modelhost.http.wire.connection import Connection
from modelhost.http.wire.limits import Limits
from tests.support.asgi import greeting
from tests.support.transports import HeldTransport

LIMITS = Limits(max_connections=2, header_seconds=10, body_seconds=30, slow_reader_seconds=60)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


class Wire:
    """Connections to ``app``, which share a server."""

    def __init__(self, app: ASGIApp = greeting) -> None:
        self.state = ServerState()
        self._config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=75)

    def connect(self, **state: Any) -> tuple[Connection, HeldTransport]:
        connection = Connection(LIMITS, lambda _path, error: error_answer(error), self._config, self.state, state)
        transport = HeldTransport(connection)
        connection.connection_made(transport)
        return connection, transport

    async def answers(self) -> None:
        """Wait until all requests are answered."""
        while self.state.tasks:
            await asyncio.wait(self.state.tasks)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def refusal(transport: HeldTransport) -> tuple[int, str]:
    """The status and the code of the one answer that was written, after which nothing is."""
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    assert b"content-length: %d" % len(body) in head
    assert transport.has_ended_writing
    return int(head.split()[1]), json.loads(body)["error"]["code"]
