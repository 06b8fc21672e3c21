"""A client's connection: uvicorn's, with limits on what it takes and on how long it waits, before any key is looked at.

Nothing here has a timer of its own: :class:`modelhost.http.listening.Server` looks at every connection each second.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from modelhost.disconnect import Disconnection
from modelhost.errors import (
    InvalidRequest,
    ModelhostError,
    RequestTimedOut,
    TooManyConnections,
)
from modelhost.http.errors import Answer
from modelhost.http.exchange import DISCONNECTION
from modelhost.http.wire.limits import (
    MAX_HEAD_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_PENDING_BYTES,
    Limits,
    SlowReader,
    too_large,
)
from modelhost.logs import get_logger
from modelhost.meters import METERS


class Unframed:
    """Wraps an application for one request of HTTP/1.0, so that uvicorn does not chunk its answer.

    One without a length ends with the connection (RFC 9112, section 6.3).

    ``cycle`` is uvicorn's state of the request, to be set before it runs.
    """

    cycle: RequestResponseCycle

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_unframed = False

        async def send_unframed(message: Any) -> None:
            nonlocal is_unframed
            if message["type"] == "http.response.start":
                is_unframed = all(name.lower() != b"content-length" for name, _ in message["headers"])
                if is_unframed:
                    self.cycle.chunked_encoding = False
            elif is_unframed:  # with neither chunks nor a length, uvicorn has to expect exactly this
                self.cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, send_unframed)


log = get_logger(__name__)

SECONDS_TO_READ_A_REFUSAL: Final = 1.0
"""A connection that is closed while its client still sends may take the answer with it, as TCP has it."""

HOST: Final = b"host"
TRANSFER_ENCODING: Final = b"transfer-encoding"
HOST_VALUE: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*[ \t]*")
"""What a name or an address and a port are made of (RFC 3986, section 3.2.2); the parser leaves blanks behind it."""

WEB_SOCKET_PATHS: Final = frozenset({"/v1/responses"})
AnswerOf = Callable[[str, ModelhostError], Answer]


class Connection(HttpToolsProtocol):
    """Answers requests that exceed a limit itself, and closes."""

    def __init__(
        self,
        limits: Limits,
        answer_of: AnswerOf,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take ``limits``, a function that renders errors for a path, and uvicorn's arguments."""
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._answer_of = answer_of
        self._awaits: Literal["head", "body"] | None = "head"
        self._awaits_since = self.loop.time()
        self._head_bytes = 0
        self._header_count = 0
        self._hosts: list[bytes] = []
        self._pending_bytes = 0  # of what is incomplete
        self._fault: ModelhostError | None = None
        self._is_refused = False
        self._reader = SlowReader()
        self._disconnection: Disconnection | None = None  # of the newest request, which is uvicorn's, too

    # Callbacks of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse the client if there are too many."""
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self._limits.max_connections:
            self._refuse(
                TooManyConnections(
                    "All connections that this host accepts are in use "
                    f"(--max-connections {self._limits.max_connections}). Try again later."
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request."""
        super().connection_lost(exc)
        self._tell_disconnected()

    def data_received(self, data: bytes) -> None:
        """Parse data, unless the client was refused and may not have read that yet."""
        if self._is_refused:
            return
        if self._awaits is None and not self._is_answering:
            self._await("head")  # blank lines may precede one
        elif self._awaits == "body":
            self._awaits_since = self.loop.time()
        self._pending_bytes += len(data)
        super().data_received(data)
        if self._pending_bytes > MAX_PENDING_BYTES and not self._is_refused:
            self._refuse(too_large())

    def resume_writing(self) -> None:
        """Note that the client has read."""
        self._reader.has_read()
        super().resume_writing()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Start counting its size."""
        self._await("head")
        self._head_bytes = self._header_count = 0
        self._hosts.clear()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Add to its size."""
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail(too_large())
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add to its size; a trailer is not a header of the request (RFC 9110, section 6.5)."""
        # Not with uvicorn's method, which does the same: a request has a dozen headers.
        size = len(name) + len(value)
        self._head_bytes += size
        self._header_count += 1
        if size > MAX_HEADER_BYTES or self._head_bytes > MAX_HEAD_BYTES or self._header_count > MAX_HEADERS:
            self._fail(too_large())
        if self._awaits == "head":
            name = name.lower()
            if name == HOST:
                self._hosts.append(value)
            elif name == TRANSFER_ENCODING and value.strip().lower() != b"chunked":
                self._fail(
                    InvalidRequest(
                        "Of transfer codings, chunked alone is read: send a compressed body with Content-Encoding."
                    )
                )
            elif name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start answering while the body arrives."""
        version = self.parser.get_http_version()
        if len(self._hosts) > 1 or (self._hosts and not HOST_VALUE.fullmatch(self._hosts[0])):
            self._fail(InvalidRequest("The request names its host twice, or by what is no name: send one Host header."))
        if version == "1.1" and not self._hosts:
            self._fail(InvalidRequest("The request has no Host header, which HTTP/1.1 requires."))
        self._await("body")
        self._pending_bytes = 0
        self._disconnection = self.scope[DISCONNECTION] = Disconnection(self.flow.resume_reading)  # type: ignore[typeddict-unknown-key]
        if version == "1.0":
            self._answer_until_close()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass it to the application."""
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting for more data."""
        self._awaits = None
        self._pending_bytes = 0
        super().on_message_complete()

    def _answer_until_close(self) -> None:
        """Have an answer without a length end with the connection: HTTP/1.0 has no chunks (RFC 9112, section 6.1)."""
        app = self.app
        unframed = Unframed(app)
        self.app = unframed
        super().on_headers_complete()
        self.app = app
        unframed.cycle = self.cycle

    def send_400_response(self, msg: str) -> None:
        """Refuse what could not be parsed or exceeds a limit."""
        self._refuse(self._fault or InvalidRequest("This is no HTTP request that can be read; it has to be HTTP/1.1."))

    def _should_upgrade(self) -> bool:
        """Whether the request begins a WebSocket; elsewhere, it is answered as if it did not ask for one."""
        is_one = self._path in WEB_SOCKET_PATHS and self.scope["method"] == "GET" and not self._is_answering
        return is_one and super()._should_upgrade()

    # Callbacks of the server.

    def check(self, now: float) -> None:
        """Close the connection if its client exceeds a timeout."""
        is_paused = self.flow.write_paused or self.transport.is_closing()
        if self._reader.seconds(self.transport, now, is_paused=is_paused) >= self._limits.slow_reader_seconds:
            log.warning("slow_reader_cut", client=self.client, unsent_bytes=self._reader.unsent_bytes)
            self.transport.abort()
        elif self._awaits is None or self.flow.read_paused or (self._awaits == "head" and self._is_answering):
            self._awaits_since = now  # the client is not awaited
        elif now - self._awaits_since >= self._seconds_allowed:
            self._time_out()

    @property
    def _seconds_allowed(self) -> float:
        return self._limits.header_seconds if self._awaits == "head" else self._limits.body_seconds

    @property
    def _is_answering(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _time_out(self) -> None:
        is_unused = self._awaits == "head" and not self._head_bytes and not self._pending_bytes
        if is_unused or (self._awaits == "body" and not self._is_answering):
            self.transport.close()  # it is idle
            return
        self._refuse(
            RequestTimedOut(
                f"The {self._awaits} of the request did not arrive within {self._seconds_allowed:g} s "
                f"(--{'header' if self._awaits == 'head' else 'body'}-timeout)."
            )
        )

    def _await(self, what: Literal["head", "body"]) -> None:
        self._awaits = what
        self._awaits_since = self.loop.time()

    def _fail(self, fault: ModelhostError) -> None:
        """Stop the parser; uvicorn then calls ``send_400_response``."""
        self._fault = fault
        raise fault

    def _refuse(self, error: ModelhostError) -> None:
        """Send ``error`` and close; send nothing in the middle of the answer to another request."""
        self._is_refused = True
        self.connections.discard(self)
        METERS.errors.labels("", error.code).inc()
        if self._is_answering and (self._awaits == "head" or self.cycle.response_started or self.pipeline):
            self.transport.abort()
            return
        status, headers, body = self._answer_of(self._path, error)
        lines = [b"%s: %s\r\n" % header for header in (*headers, (b"connection", b"close"))]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        if self._is_answering:
            self.cycle.disconnected = True  # what the application sends must not follow this
            self.cycle.message_event.set()
            self._tell_disconnected()
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(SECONDS_TO_READ_A_REFUSAL, self.transport.abort)

    def _tell_disconnected(self) -> None:
        if self._disconnection is not None:
            self._disconnection.tell()

    @property
    def _path(self) -> str:
        url: bytes = getattr(self, "url", b"")
        return url.partition(b"?")[0].decode("latin-1")
