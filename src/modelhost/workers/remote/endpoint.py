"""One server of a model: its address, the connections to it, and its health."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from modelhost.engines.launch import RemoteTarget
from modelhost.version import __version__
from modelhost.workers.connection import Connection, ConnectionBroken
from modelhost.workers.remote.connection import KeepAliveConnection, connect_to

MOST_IDLE: Final = 32  # connections that are kept; the number of open ones is not limited
CHECK_SECONDS: Final = 10.0
"""For a server to list its models."""
PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


class Unhealthy(Exception):
    """The server cannot serve the model. ``is_unreachable``: it may become reachable by itself."""

    def __init__(self, reason: str, *, is_unreachable: bool) -> None:
        super().__init__(reason)
        self.is_unreachable = is_unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """The model in a server's list; without an entry if the server does not list its models."""

    id: str
    entry: Mapping[str, Any] = field(default_factory=dict)


class Endpoint:
    """A pool of connections: what :meth:`ask` returns has to be passed to :meth:`release`."""

    def __init__(self, url: str, target: RemoteTarget, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self.name = parts.netloc
        """Its host and port, for messages."""
        self.card: ServedModel | None = None
        """The model in its latest list; ``None`` before it was healthy for the first time."""
        self.trouble: Unhealthy | None = Unhealthy("it has not been checked yet", is_unreachable=True)
        """Why it gets no requests unless there is no other server; ``None`` if it is healthy."""
        self._elsewhere = target
        self._address = (parts.hostname or "", parts.port or PORTS[parts.scheme])
        self._tls = tls if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/") or "/v1"
        self._idle: list[KeepAliveConnection] = []
        self._lent: set[KeepAliveConnection] = set()
        self._connecting = 0
        self._is_closed = False
        key = f"Authorization: Bearer {target.api_key}\r\n" if target.api_key else ""
        self._head = (
            f"Host: {parts.netloc}\r\n{key}User-Agent: modelhost/{__version__}\r\nAccept-Encoding: identity\r\n"
        ).encode()

    @property
    def in_flight(self) -> int:
        """The number of its requests, including those that are connecting."""
        return len(self._lent) + self._connecting

    @property
    def served(self) -> str:
        """The name of the model there; empty if not known yet."""
        return self.card.id if self.card is not None else self._elsewhere.model

    async def ask(
        self,
        path: str,
        body: bytes | None,
        *,
        kind: str | None = None,
        head: bytes = b"",
        on_connection: Callable[[Connection], None] | None = None,
    ) -> KeepAliveConnection:
        """Send a request (a GET without ``body``) and return the connection when the head of the answer has arrived.

        ``kind`` is the media type of ``body``, and ``head`` are further lines of the head, each ended by CRLF. A kept
        connection that the server has closed meanwhile is replaced by a new one. ``on_connection`` gets each connection
        that the request is tried on.

        Raises:
            ConnectionBroken: the server cannot be reached, or closed the connection.
        """
        if kind is not None:
            head = b"%sContent-Type: %s\r\n" % (head, kind.encode())
        while self._idle and not self._is_closed:
            connection = self._idle.pop()
            if not connection.is_reusable:
                connection.close()
                continue
            connection.reset_for_request()
            try:
                return await self._sent(connection, path, body, head, on_connection)
            except ConnectionBroken:
                if connection.was_answered:
                    raise
        return await self._sent(await self._connected(), path, body, head, on_connection)

    def release(self, connection: KeepAliveConnection) -> None:
        """Return a connection to the pool: it is kept if its answer was read completely, else closed."""
        self._lent.discard(connection)
        if connection.is_reusable and len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close all connections and open no more; their readers get a :class:`ConnectionBroken`."""
        self._is_closed = True
        for connection in (*self._idle, *self._lent):
            connection.close()
        self._idle.clear()

    async def check(self) -> None:
        """List its models, and update :attr:`card` and :attr:`trouble`."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                self.card = await self._look()
        except TimeoutError:
            self.trouble = Unhealthy(f"it did not answer within {CHECK_SECONDS:g} s", is_unreachable=True)
        except ConnectionBroken as error:
            self.trouble = Unhealthy(str(error), is_unreachable=True)
        except Unhealthy as error:
            self.trouble = error
        else:
            self.trouble = None

    async def _connected(self) -> KeepAliveConnection:
        if self._is_closed:
            raise ConnectionBroken("it is not used any more")
        host, port = self._address
        self._connecting += 1
        try:
            made = await connect_to(host, port, tls=self._tls, timeout_seconds=self._elsewhere.connect_seconds)
        finally:
            self._connecting -= 1
        if self._is_closed:  # meanwhile
            made.close()
            raise ConnectionBroken("it is not used any more")
        return made

    async def _look(self) -> ServedModel:
        connection = await self.ask("/v1/models", None)
        try:
            answer = await connection.read_all()
        finally:
            self.release(connection)
        wanted, status = self._elsewhere.model, connection.status
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED) and wanted:
            return ServedModel(id=wanted)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Unhealthy(
                f"it refuses the key ({status}): give another one as api_key (--remote-api-key)"
                if self._elsewhere.api_key
                else f"it wants a key ({status}): give it as api_key (--remote-api-key)",
                is_unreachable=False,
            )
        if status != HTTPStatus.OK:
            is_down = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
            raise Unhealthy(
                f"it answered {status} to GET {self._target('/v1/models')}" + ("" if is_down else NO_API),
                is_unreachable=is_down,
            )
        return choose_model(parse_models(answer), wanted)

    def _target(self, path: str) -> str:
        if path.startswith("/v1/"):
            return self._base + path.removeprefix("/v1")
        return self._base.removesuffix("/v1") + path

    async def _sent(
        self,
        connection: KeepAliveConnection,
        path: str,
        body: bytes | None,
        head: bytes,
        on_connection: Callable[[Connection], None] | None,
    ) -> KeepAliveConnection:
        self._lent.add(connection)
        if on_connection is not None:
            on_connection(connection)
        try:
            if body is None:
                await connection.get(self._target(path), self._head + head)
            else:
                await connection.post(self._target(path), self._head + head, body)
        except BaseException:
            self._lent.discard(connection)
            connection.close()
            raise
        return connection


NO_API: Final = ": is that the base URL of an OpenAI-compatible API, such as http://there:8000/v1?"


def parse_models(answer: bytes) -> list[Mapping[str, Any]]:
    """Return the models in the answer to ``GET /v1/models``; raises :class:`Unhealthy` if it is something else."""
    try:
        data = orjson.loads(answer)["data"]
        return [entry for entry in data if isinstance(entry["id"], str)]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise Unhealthy(f"it does not list models{NO_API}", is_unreachable=False) from None


def choose_model(entries: list[Mapping[str, Any]], wanted: str) -> ServedModel:
    """Return the model ``wanted``, by name or alias; if it is empty, the first.

    Raises:
        Unhealthy: there is none.
    """
    for entry in entries:
        if not wanted or wanted == entry["id"] or wanted in (entry.get("aliases") or ()):
            return ServedModel(id=wanted or entry["id"], entry=entry)
    if not wanted:
        raise Unhealthy("it has no model", is_unreachable=True)
    there = ", ".join(entry["id"] for entry in entries[:8]) or "none"
    raise Unhealthy(f'it has no model "{wanted}"; it has: {there}', is_unreachable=False)
