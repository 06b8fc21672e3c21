"""One HTTP request to a worker and its answer, over a connection of its own.

A general HTTP client takes longer than the request to a local process itself. This one does only what is needed: one
request, a parsed head, a body as it arrives. httptools parses. Each request has a new connection, since llama.cpp drops
idle ones without notice, and local connections are cheap.
"""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from typing import Self, cast
from urllib.parse import urlsplit

import httptools

OK = HTTPStatus.OK.value  # members of an enum are slow
UNIX = "unix://"
CONNECT_SECONDS = 5.0
HIGH_WATER_BYTES = 256 * 1024  # unread; beyond that, reading from the worker pauses


class ConnectionBroken(Exception):
    """There is no connection, or it ended before the answer did."""


class NotListening(ConnectionBroken):
    """There is no connection, since nothing listens at the address."""


class Stalled(ConnectionBroken):
    """The request was given up: nothing arrived for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing has come for {seconds:g} s")
        self.seconds = seconds


class Connection(asyncio.Protocol):
    """Made by :func:`connect`; leaving its context cancels the request.

    If nothing has arrived, only this side is closed: the worker closes the other when it drops the request, which shows
    for how long it goes on with abandoned work.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self.status = 0
        self.content_type = ""
        self.waiting_since = self._now()
        """Since when the worker could have sent something: the request's start, or the end of our last pause."""
        self.sent_at = self.waiting_since
        """When the request was made."""
        self.last_received_at = -math.inf
        """When the last bytes arrived."""
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._unread_bytes = 0
        self._has_head = False
        self._is_complete = False
        self._is_paused = False
        self._is_left = False
        self._stalled: Stalled | None = None
        self._error: ConnectionBroken | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left = True
        if self._transport is None or self._transport.is_closing():
            return
        if not self.has_begun and self._error is None:
            self._transport.write_eof()
        else:
            self._transport.abort()

    @property
    def has_begun(self) -> bool:
        """Whether the worker has said that it works on the request, or has sent anything else."""
        return self.last_received_at > -math.inf

    @property
    def is_closed(self) -> bool:
        """Whether both sides are closed."""
        return self._transport is None

    @property
    def is_answered(self) -> bool:
        """Whether the whole answer has arrived, and is no error."""
        return self._is_complete and self.status == OK

    def give_up(self, seconds: float) -> None:
        """Raise :class:`Stalled` in its reader."""
        self._stalled = Stalled(seconds)
        self._wake()

    @property
    def is_paused(self) -> bool:
        """Whether reading from the worker is paused until our reader has caught up."""
        return self._is_paused

    async def post(self, path: str, head: bytes, body: bytes) -> None:
        """Send a request and return when the head of its answer is there: :attr:`status`.

        Args:
            path: of the request.
            head: further lines of the request's head, each ended by CRLF, including the content type.
            body: of the request.

        Raises:
            ConnectionBroken: the connection ended first.
        """
        await self._ask(b"POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (path.encode(), head, len(body)) + body)

    async def get(self, path: str, head: bytes) -> None:
        """As :meth:`post`, without a body."""
        await self._ask(b"GET %s HTTP/1.1\r\n%s\r\n" % (path.encode(), head))

    async def read(self) -> bytes:
        """Return what has arrived of the body, waiting if there is nothing; ``b""`` at its end.

        Raises:
            ConnectionBroken: the connection ended before the body.
        """
        while not self._parts:
            if self._is_complete:
                return b""
            # Without a coroutine of its own for the wait, which comes before nearly every token.
            await self._arrival()
        block = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._unread_bytes = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self.waiting_since = self._now()
            self._transport.resume_reading()
        return block

    async def read_all(self) -> bytes:
        """Return the rest of the body; raises as :meth:`read` does."""
        blocks = []
        while block := await self.read():
            blocks.append(block)
        return b"".join(blocks)

    async def _ask(self, request: bytes) -> None:
        if self._transport is None:
            raise self._error or ConnectionBroken("it is closed")
        self._transport.write(request)
        while not self._has_head:
            await self._arrival()

    def _arrival(self) -> asyncio.Future[None]:
        """Return what is done once something has happened; raises what has ended the request."""
        if self._stalled is not None:
            raise self._stalled
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        if self._is_left:
            return
        self.last_received_at = self._now()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._error = ConnectionBroken(f"its answer is not HTTP: {error}")
        if self._unread_bytes > HIGH_WATER_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._error is None:
            self._error = ConnectionBroken(str(exc) if exc else "it ended before its answer did")
        self._wake()

    # Callbacks of the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.content_type = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if (status := self._parser.get_status_code()) >= OK:  # otherwise an interim answer
            self.status = status
            self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._unread_bytes += len(body)

    def on_message_complete(self) -> None:
        self._is_complete = self._has_head


async def connect(url: str) -> Connection:
    """Return a connection to the worker at ``url``: ``unix:///PATH`` or ``http://HOST:PORT``.

    Raises:
        NobodyListens: nothing listens there.
        ConnectionBroken: it failed for another reason.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if url.startswith(UNIX):
                _, connection = await loop.create_unix_connection(Connection, url.removeprefix(UNIX))
            else:
                parts = urlsplit(url)
                _, connection = await loop.create_connection(Connection, parts.hostname or "", parts.port or 80)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotListening(str(error)) from error
    except OSError as error:  # TimeoutError is one
        raise ConnectionBroken(str(error) or "it did not take the connection") from error
    return connection


async def is_listening(url: str) -> bool:
    """Whether something listens at ``url``; also true if that cannot be determined (no free descriptors)."""
    try:
        with await connect(url):
            return True
    except NotListening:
        return False
    except ConnectionBroken:
        return True
