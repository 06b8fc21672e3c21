"""One WebSocket as a door sees it: messages one after the other, and the news that the client left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from starlette.types import Message, Receive, Send

from modelhost import json_text
from modelhost.disconnect import ClientDisconnected

MAX_WAITING: Final = 4
"""Messages that a client may send ahead: each may be as large as a body."""
NORMAL: Final = 1000
TOO_MANY: Final = 1008  # "policy violation" (RFC 6455, section 7.4.1)
RESTART: Final = 1012  # https://www.iana.org/assignments/websocket/websocket.xhtml


class WebSocket:
    """Made by :func:`accepted`."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._waiting: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._gone = asyncio.Event()

    async def next(self, *, until: asyncio.Event, seconds: float) -> str | bytes | None:
        """Return the next message; ``None`` when ``until`` is set or after ``seconds``.

        Raises:
            ClientDisconnected: the client left.
        """
        if until.is_set() or seconds <= 0:
            return None
        message = asyncio.create_task(self._waiting.get())
        waiting = (message, asyncio.create_task(self._gone.wait()), asyncio.create_task(until.wait()))
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if self._gone.is_set():
            raise ClientDisconnected
        return message.result() if message.done() and not message.cancelled() else None

    def disconnected(self) -> Awaitable[object]:
        """Return when the client has left."""
        return self._gone.wait()

    async def send(self, payload: Any) -> None:
        """Send ``payload`` as JSON in a text frame; waits while the client does not read.

        Raises:
            ClientDisconnected: the client left.
        """
        await self._to_client({"type": "websocket.send", "text": json_text.encode(payload).decode()})

    async def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; raises as :meth:`send`."""
        await self._to_client({"type": "websocket.close", "code": code, "reason": reason})
        self._gone.set()

    async def _to_client(self, message: Message) -> None:
        if self._gone.is_set():
            raise ClientDisconnected
        try:
            await self._send(message)
        except OSError:  # as ASGI has it
            self._gone.set()
            raise ClientDisconnected from None

    async def read(self) -> None:
        """Read messages ahead until the client leaves."""
        try:
            while not self._gone.is_set():
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                if message["type"] == "websocket.receive":
                    if self._waiting.qsize() >= MAX_WAITING:
                        await self.close(TOO_MANY, f"More than {MAX_WAITING} messages wait.")
                        return
                    text = message.get("text")
                    self._waiting.put_nowait(message["bytes"] if text is None else text)
        finally:
            self._gone.set()


@asynccontextmanager
async def accepted(receive: Receive, send: Send) -> AsyncIterator[WebSocket]:
    """Accept the handshake; yield the socket, which reads as long as the context is entered."""
    await send({"type": "websocket.accept"})
    socket = WebSocket(receive, send)
    reading = asyncio.create_task(socket.read(), name="reading a WebSocket")
    try:
        yield socket
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError, ClientDisconnected):
            await reading
