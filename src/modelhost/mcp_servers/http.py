"""The servers over streamable HTTP, for both protocol eras, as an ASGI application with the open sessions of clients.

Clients that perform the handshake have a session with an id; after a restart of the host old ids get 404, and clients
repeat the handshake. The modern era, and requests without any of it (:mod:`modelhost.mcp_servers.plain`), need none.
"""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import mcp_types as types
import orjson
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from modelhost.background import log_failures
from modelhost.errors import HostFault
from modelhost.mcp_servers import lenient, plain
from modelhost.mcp_servers.faces import FaceName
from modelhost.mcp_servers.json_answers import JsonSend, is_for_json
from modelhost.mcp_servers.lenient import parse_call_arguments
from modelhost.mcp_servers.server import LEFT, Extend


class OpenSessions:
    """The open sessions, most recently used last. Ended sessions may stay until they are removed or closed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: dict[str, None] = {}
        """In the order of their last use."""
        self._at_work: Counter[str] = Counter()
        self._opening = 0

    @property
    def is_full(self) -> bool:
        """Whether there are more sessions than allowed, including those being opened."""
        return len(self._ids) + self._opening > self._limit

    @property
    def oldest_idle(self) -> str | None:
        """The session that has been idle for longest; ``None`` if all have a request or a stream."""
        return next((each for each in self._ids if not self._at_work[each]), None)

    @contextmanager
    def reserve(self) -> Iterator[Callable[[str], None]]:
        """Reserve a place for a new session; call the yielded function with its id once it is open."""
        self._opening += 1
        is_open = False

        def add(session: str) -> None:
            nonlocal is_open
            if not is_open:
                is_open = True
                self._opening -= 1
                self._ids[session] = None

        try:
            yield add
        finally:
            if not is_open:
                self._opening -= 1

    def remove(self, session: str) -> None:
        self._ids.pop(session, None)

    @contextmanager
    def in_use(self, session: str | None) -> Iterator[None]:
        """Mark the session as in use by a request or a stream."""
        if session is None or session not in self._ids:
            yield
            return
        self._at_work[session] += 1
        try:
            yield
        finally:
            self._at_work[session] -= 1
            if not self._at_work[session]:
                del self._at_work[session]
            if session in self._ids:
                self._ids[session] = self._ids.pop(session)


MAX_SESSIONS: Final = 1000
"""Sessions of clients with a handshake. Beyond that the oldest idle one is closed; without one, new clients get 503."""
IDLE_SECONDS: Final = 1800.0
"""After which an unused session is closed."""
DISCONNECT: Final[Message] = {"type": "http.disconnect"}
SESSION_HEADER: Final = plain.SESSION_HEADER.encode()
JSON_HEADERS: Final = [(b"content-type", b"application/json")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Additions to a server, and how its streams can be resumed by clients that lose them."""

    extend: Extend
    event_store: EventStore | None = None
    retry_milliseconds: int | None = None


class McpHttp:
    """The servers of a host; each is started by its first request."""

    def __init__(
        self,
        build: Callable[[FaceName], Server[Any]],
        *,
        max_body_bytes: int,
        stopping: asyncio.Event,
        extension: Extension | None = None,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        """``stopping`` ends endless streams, and then the servers."""
        self._build = build
        self._serve = partial(
            _Served, max_body_bytes=max_body_bytes, stopping=stopping, extension=extension, max_sessions=max_sessions
        )
        self._servers: dict[FaceName, _Served] = {}

    async def answer(self, face: FaceName, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request to the server ``face``, which is restarted without sessions if it has failed.

        Raises:
            HostFault: it failed while it began.
        """
        served = self._servers.get(face)
        if served is None or served.has_failed:
            served = self._servers[face] = self._serve(self._build(face))
        await served.answer(scope, receive, send)


class _Served:
    def __init__(
        self,
        server: Server[Any],
        *,
        max_body_bytes: int,
        stopping: asyncio.Event,
        extension: Extension | None,
        max_sessions: int,
    ) -> None:
        self._server = server
        self._max_body_bytes = max_body_bytes
        self._stopping = stopping
        self._keeps_events = extension is not None and extension.event_store is not None
        self._manager = StreamableHTTPSessionManager(
            server,
            event_store=extension.event_store if extension else None,
            retry_interval=extension.retry_milliseconds if extension else None,
            session_idle_timeout=IDLE_SECONDS,
            max_sessions=max_sessions,
            max_request_body_size=max_body_bytes,
        )
        self._sessions = OpenSessions(max_sessions)
        self._requests = 0
        self._is_idle = asyncio.Event()
        self._is_running = asyncio.Event()
        self.has_failed = False
        """Whether a fault of the host ended its sessions: then it accepts no new ones."""
        self._running = asyncio.create_task(self._run(), name=f"sessions of {server.name}")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._is_running.wait()
        if self.has_failed:
            raise HostFault
        client = _Client(receive, None if scope["method"] == "POST" else self._stopping)
        # The parser of HTTP leaves blanks behind a value, which are no part of it.
        scope = {**scope, "headers": [(name, value.strip(b" \t")) for name, value in scope["headers"]]}
        if not self._keeps_events:
            scope[LEFT] = client.left
        if not any(name == SESSION_HEADER for name, _ in scope["headers"]):
            send = _without_dead_session(send)
        self._requests += 1
        self._is_idle.clear()
        try:
            if scope["method"] == "POST":
                await self._post(scope, client, send)
            else:
                await self._stream(scope, client, send)
        finally:
            self._requests -= 1
            if not self._requests:
                self._is_idle.set()

    async def _post(self, scope: Scope, client: _Client, send: Send) -> None:
        body = await client.body(self._max_body_bytes)
        if body is None:
            await _send(send, 413, _error(types.INVALID_REQUEST, f"more than {self._max_body_bytes} bytes"))
            return
        body = body.removeprefix(BOM_UTF8)
        request = Request(scope, client.receive)
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            await _send(send, 400, _error(types.PARSE_ERROR, str(error)))
            return
        read = parse_call_arguments(message) if isinstance(message, dict) else message
        if read is not message:
            message, body = read, orjson.dumps(read)
        if plain.is_plain(request.headers, message):
            await self._answer_plainly(message, request, client, send)
            return
        if problem := plain.find_problem(request.headers, message):
            refusal = types.ErrorData(code=types.INVALID_REQUEST, message=f"Invalid Request: {problem}")
            await _send(send, 400, plain.error_answer(lenient.message_id(message), refusal))
            return
        if isinstance(message, dict) and message.get("method") == lenient.LISTENING:
            client.ends = self._stopping  # it would never end by itself
        client.give_back(body)
        session = request.headers.get(plain.SESSION_HEADER)
        if session is None and isinstance(message, dict) and message.get("method") == "initialize":
            await self._open(scope, client, send)
            return
        if not self._keeps_events and is_for_json(message):
            send = JsonSend(send)
        with self._sessions.in_use(session):
            await self._manager.handle_request(scope, client.receive, send)

    async def _open(self, scope: Scope, client: _Client, send: Send) -> None:
        """Answer a handshake, closing an idle session of another client if necessary."""

        with self._sessions.reserve() as add:

            async def noting(message: Message) -> None:
                headers = dict(message.get("headers", ()))
                if SESSION_HEADER in headers and message["status"] < 400:
                    add(headers[SESSION_HEADER].decode("latin-1"))
                await send(message)

            while self._sessions.is_full and (oldest := self._sessions.oldest_idle) is not None:
                self._sessions.remove(oldest)
                await self._end(oldest, scope)
            await self._manager.handle_request(scope, client.receive, noting)

    async def _end(self, session: str, scope: Scope) -> None:
        async def nothing() -> Message:
            return DISCONNECT

        async def unheard(_message: Message) -> None:
            pass

        headers = [(SESSION_HEADER, session.encode("latin-1"))]
        await self._manager.handle_request({**scope, "method": "DELETE", "headers": headers}, nothing, unheard)

    async def _stream(self, scope: Scope, client: _Client, send: Send) -> None:
        session = Request(scope).headers.get(plain.SESSION_HEADER)
        is_open = False

        async def watched(message: Message) -> None:
            nonlocal is_open
            is_open = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        with self._sessions.in_use(session):
            await self._manager.handle_request(scope, client.receive, watched)
        if scope["method"] == "DELETE" and session is not None:
            self._sessions.remove(session)
        if is_open:  # it was the host that ended it: the client is to see an end, and no failure
            await send({"type": "http.response.body", "body": b""})

    async def _answer_plainly(self, message: plain.Json, request: Request, client: _Client, send: Send) -> None:
        watcher = asyncio.create_task(client.watch())
        try:
            answer = await plain.answer(self._server, None, message, request)
        finally:
            watcher.cancel()
        await _send(send, 200, answer)

    async def _run(self) -> None:
        """Keep the sessions open until the host stops and the last request is answered."""
        with log_failures("holding MCP sessions", server=self._server.name) as held:
            async with self._manager.run():
                self._is_running.set()
                await self._stopping.wait()
                while self._requests:
                    await self._is_idle.wait()
        self.has_failed = held.fault is not None
        self._is_running.set()  # who waits for the beginning learns that there is none


class _Client:
    def __init__(self, receive: Receive, ends: asyncio.Event | None) -> None:
        """``ends``: an event after which the client counts as disconnected."""
        self._receive = receive
        self.ends = ends
        self._given_back: deque[Message] = deque()
        self.left = asyncio.Event()

    async def body(self, limit_bytes: int) -> bytes | None:
        """Return the body; ``None`` if it is longer than ``limit_bytes``."""
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return bytes(body)
            body += message.get("body", b"")
            if len(body) > limit_bytes:
                return None
            if not message.get("more_body", False):
                return bytes(body)

    def give_back(self, body: bytes) -> None:
        """Make ``body`` available to be received again."""
        self._given_back.append({"type": "http.request", "body": body, "more_body": False})

    async def receive(self) -> Message:
        if self._given_back:
            return self._given_back.popleft()
        message = await (self._receive() if self.ends is None else self._until(self.ends))
        if message["type"] == "http.disconnect":
            self.left.set()
        return message

    async def watch(self) -> None:
        while not self.left.is_set():
            await self.receive()

    async def _until(self, ends: asyncio.Event) -> Message:
        receiving = asyncio.ensure_future(self._receive())
        ending = asyncio.ensure_future(ends.wait())
        try:
            await asyncio.wait([receiving, ending], return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else DISCONNECT
        finally:
            receiving.cancel()
            ending.cancel()


def _without_dead_session(send: Send) -> Send:
    """Remove the session id from a refusal: the SDK opens a session before it refuses, and closes it at once."""

    async def filtered(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            headers = [(name, value) for name, value in message["headers"] if name.lower() != SESSION_HEADER]
            message = {**message, "headers": headers}
        await send(message)

    return filtered


def _error(code: int, message: str) -> bytes:
    return plain.error_answer(None, types.ErrorData(code=code, message=message))


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [*JSON_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
