"""An ASGI application as the other end of an HTTP client, without a socket.

Unlike ``httpx2.ASGITransport`` it gives a stream as it is written, and tells the application when its client leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message, Scope

CLIENT = ("127.0.0.1", 50_000)
PORT = 80
SECONDS_TO_NOTICE = 20.0
"""Ends what hangs; it takes no time to notice."""


class MemoryTransport(httpx2.AsyncBaseTransport):
    """Has ``app`` answer each request in a task of its own, which has ended when the response is closed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = _Exchange(await request.aread())
        exchange.begin(self._app, _scope_of(request))
        try:
            status, headers = await exchange.head
        except BaseException:
            await exchange.aclose()
            raise
        return httpx2.Response(status, headers=headers, stream=exchange)


class _Exchange(httpx2.AsyncByteStream):
    """One request, and the body of its answer as it comes."""

    def __init__(self, body: bytes) -> None:
        self.head: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        self._incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        self._blocks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._left = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, app: ASGIApp, scope: Scope) -> None:
        self._task = asyncio.create_task(self._answer(app, scope))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self._task is not None
        while (block := await self._blocks.get()) is not None:
            yield block
        await self._task

    async def aclose(self) -> None:
        """Leave, and wait until the application has noticed; it is ended if it does not."""
        self._left.set()
        if self._task is None:
            return
        _, unaware = await asyncio.wait([self._task], timeout=SECONDS_TO_NOTICE)
        if unaware:
            self._task.cancel()
            raise httpx2.RemoteProtocolError("the application does not notice that its client has left")

    async def _answer(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            if self.head.done():
                raise
            self.head.set_exception(error)
        finally:
            self._blocks.put_nowait(None)

    async def _receive(self) -> Message:
        if self._incoming:
            return self._incoming.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.head.done():
            self.head.set_result((message["status"], message.get("headers", [])))
        elif body := message.get("body"):
            self._blocks.put_nowait(body)


def _scope_of(request: httpx2.Request) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": CLIENT,
        "server": (request.url.host, request.url.port or PORT),
    }
