"""An MCP server at an address, over streamable HTTP or the older HTTP with server-sent events.

The specification has HTTP 404 for a session that a server no longer knows. Many servers answer HTTP 400 and say why in
the body, in their own words: "Session not found", "No valid session ID provided", "Server not initialized".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, Final

import anyio
import httpx2
import mcp_types as types
import orjson
from anyio.abc import ObjectReceiveStream
from mcp.client.sse import sse_client
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp.shared._httpx_utils import McpHttpClientFactory
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from modelhost.config import network
from modelhost.fetching.guard import GuardedTransport
from modelhost.tools.callbacks import CURRENT_ATTEMPT, CallAttempt
from modelhost.tools.entry import HttpTransport
from modelhost.tools.failures import FOREIGN, refusal_of
from modelhost.tools.repair import message_of, unreadable
from modelhost.workers.call_depth import DEPTH_HEADER

MESSAGE_BYTES: Final = 32 * 2**20  # in one event; some results exceed the SDK's own limit of 1 MiB
TIMEOUT: Final = httpx2.Timeout(30.0, read=None)
"""No timeout for reading: a call has its own, and a stream of notifications may be silent."""

MAX_FOREIGN_BYTES: Final = 64 * 2**20
"""All that a server may send that a request names, over one connection to it."""

BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
UNREAD: Final = frozenset({BAD_REQUEST, UNAUTHORIZED, NOT_FOUND})
"""Statuses with which a server refuses a message unread: the session or the client is unknown."""

OnConnectionLost = Callable[[str], None]
Repair = Callable[[types.JSONRPCMessage], None]
"""Changes a message that the SDK would refuse, see :mod:`modelhost.tools.repair`."""
Streams = tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]


class ObservingHttpClient(httpx2.AsyncClient):
    """Observes what the SDK does not report: whether a call was sent, and that a session is over."""

    def __init__(self, remote: HttpTransport, on_lost: OnConnectionLost) -> None:
        super().__init__(
            timeout=TIMEOUT,
            auth=remote.auth,
            trust_env=remote.guard is None and not network.is_loopback(remote.url),  # no proxy for this machine
            **_way_to(remote),
        )
        self._is_foreign = remote.guard is not None
        self._on_lost = on_lost
        self._is_sse = remote.kind == "sse"
        self.is_handshake_done = False
        """Whether the handshake is done; until then a refusal answers the handshake."""
        self.last_refusal: str | None = None
        """The latest HTTP error, in words."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        request.extensions[FOREIGN] = self._is_foreign
        attempt = CURRENT_ATTEMPT.get() if request.method == "POST" else None
        was_sent = attempt is not None and attempt.was_sent
        if attempt is not None:
            attempt.was_sent = True
            request.headers[DEPTH_HEADER] = str(attempt.context.depth + 1)
        try:
            response = await super().send(request, **options)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            if attempt is not None:
                attempt.was_sent = was_sent
            raise
        if response.status_code >= 400:
            await self._note_refusal(request, response, attempt, was_sent=was_sent)
        return response

    async def _note_refusal(
        self, request: httpx2.Request, response: httpx2.Response, attempt: CallAttempt | None, *, was_sent: bool
    ) -> None:
        status = response.status_code
        self.last_refusal = refusal_of(response)
        reason = await self._loss(request, response)
        if reason is None:
            return
        if attempt is not None and status in UNREAD:
            attempt.was_sent = was_sent
            attempt.refusal = self.last_refusal
        # A server that refuses a call right after a new handshake refuses this call, not the connection.
        if not (status == UNAUTHORIZED and attempt is not None and attempt.is_retry):
            self._on_lost(reason)

    async def _loss(self, request: httpx2.Request, response: httpx2.Response) -> str | None:
        """Return why the connection is lost after this refusal; ``None`` if it is not."""
        status = response.status_code
        if self._is_sse:
            # The SDK stops writing then, and the call would wait for ever.
            return self.last_refusal if request.method == "POST" else None
        if status == UNAUTHORIZED and request.method == "POST" and self.is_handshake_done:
            return self.last_refusal
        has_expired = MCP_SESSION_ID in request.headers and (
            status == NOT_FOUND
            or (status == BAD_REQUEST and request.method == "POST" and is_session_lost(await response.aread()))
        )
        return f"its session has expired (HTTP {status})" if has_expired else None


@asynccontextmanager
async def reached(
    remote: HttpTransport, on_lost: OnConnectionLost, repair: Repair
) -> AsyncGenerator[tuple[Streams, ObservingHttpClient], None]:
    """Open streams to and from the server. The first message makes the connection (HTTP), or it is made before (SSE).

    Raises:
        ConfigError: a proxy or certificates of the environment cannot be used.
        httpx2.HTTPError, ExceptionGroup: it cannot be reached; also later, out of the body.
    """
    if remote.guard is None:
        network.check_network(remote.url)
    else:
        network.require_certificates()  # no proxy is used
    client = ObservingHttpClient(remote, on_lost)
    if remote.kind == "sse":
        async with sse_client(remote.url, httpx_client_factory=_factory(client)) as (read, write):
            yield (RepairingStream(read, on_lost, repair), write), client
        return
    async with (
        client,
        streamable_http_client(remote.url, http_client=client, max_sse_event_size=MESSAGE_BYTES) as (read, write),
    ):
        yield (RepairingStream(read, on_lost, repair), write), client


def _way_to(remote: HttpTransport) -> dict[str, Any]:
    """Return what leads a client to the server."""
    if remote.guard is None:
        return {"headers": dict(remote.headers), "verify": httpx2.create_ssl_context()}
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    return {"headers": headers, "transport": GuardedTransport(remote.guard, max_bytes=MAX_FOREIGN_BYTES)}


def _factory(client: httpx2.AsyncClient) -> McpHttpClientFactory:
    """Return a factory for ``client``, which is configured already; the SDK enters and closes it."""

    def given(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        return client

    return given


def _read_anew(error: ValidationError) -> SessionMessage | Exception:
    """Return the message that the SDK could not read: over the older HTTP its call would wait for ever."""
    text = error.errors(include_url=False)[0]["input"]
    if not isinstance(text, str):
        return error
    line = text.encode(errors="replace")
    try:
        return SessionMessage(message_of(line))
    except ValueError:
        failed = unreadable(line, None)
        return SessionMessage(failed[0]) if failed else error


class RepairingStream(ObjectReceiveStream[SessionMessage | Exception]):
    """A read stream that reports its end and repairs its messages."""

    def __init__(
        self, inner: ReadStream[SessionMessage | Exception], on_lost: OnConnectionLost, repair: Repair
    ) -> None:
        self._inner = inner
        self._on_lost = on_lost
        self._repair = repair

    @property
    def last_context(self) -> Context | None:
        """The context of the code that caused the last message; the SDK handles the message in it."""
        found: Context | None = getattr(self._inner, "last_context", None)
        return found

    async def receive(self) -> SessionMessage | Exception:
        try:
            received = await self._inner.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._on_lost("closed the connection")
            raise
        found = _read_anew(received) if isinstance(received, ValidationError) else received
        if isinstance(found, SessionMessage):
            self._repair(found.message)
        return found

    async def aclose(self) -> None:
        await self._inner.aclose()


WORDS: Final = ("session", "not initialized")
OF_A_REQUEST: Final = frozenset({types.PARSE_ERROR, types.METHOD_NOT_FOUND, types.INVALID_PARAMS, types.INTERNAL_ERROR})
"""Codes of JSON-RPC that are about one request, whatever the message says."""


def is_session_lost(body: bytes) -> bool:
    """Whether the body of an HTTP 400 for a request with a session says that the session is unknown."""
    error = _error_in(body)
    if error is None:
        said = body.decode(errors="replace")
    elif error.get("code") in OF_A_REQUEST:
        return False
    else:
        said = str(error.get("message", ""))
    return any(word in said.lower() for word in WORDS)


def _error_in(body: bytes) -> dict[str, object] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else None
