"""HTTP connections to a running host: its address, streamed answers with their events, errors as the host raised them.

The implementation is that of remote workers, which imports and connects within a few milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from modelhost import json_text, lazy, trace_context
from modelhost.errors import ConfigError, HostUnreachable, ModelhostError, Unavailable, WorkerError
from modelhost.workers.connection import ConnectionBroken
from modelhost.workers.remote.connection import KeepAliveConnection


def error_in(answer: Any) -> ModelhostError | None:
    """Return the error in a decoded JSON answer, or ``None``.

    An error with an unknown code keeps its message.
    """
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if not error:
        return None
    if not isinstance(error, Mapping):
        return HostUnreachable(str(error))
    leaf = _LEAVES.get(str(error.get("code")), HostUnreachable)
    found = _made(leaf, str(error.get("message") or error), _mapping(error.get("source")))
    found.details = _mapping(error.get("details"))
    found.param = error["param"] if isinstance(error.get("param"), str) else None
    return found


def error_of_status(url: str, status: int, body: bytes, retry_after: str | None = None) -> ModelhostError:
    """Return the error of an answer with a status of 400 or more; ``retry_after`` is the header."""
    try:
        error = error_in(json.loads(body))
    except ValueError:
        error = None
    if isinstance(error, Unavailable) and retry_after is not None and retry_after.isdigit():
        error.retry_after_seconds = int(retry_after)
    return error or HostUnreachable(f"{url} answered with HTTP status {status}; is it a modelhost?")


def _made(leaf: type[ModelhostError], message: str, source: Mapping[str, Any]) -> ModelhostError:
    if not issubclass(leaf, WorkerError):
        return leaf(message)
    return leaf(message, model=str(source.get("model", "")), worker=str(source.get("worker", "")))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _leaves(branch: type[ModelhostError]) -> Iterator[type[ModelhostError]]:
    for below in branch.__subclasses__():
        if "code" in vars(below):
            yield below
        yield from _leaves(below)


_LEAVES: Mapping[str, type[ModelhostError]] = {leaf.code: leaf for leaf in _leaves(ModelhostError)}
"""The errors of a host by their codes."""


CONNECT_SECONDS: Final = 10.0
"""Timeout to connect; waiting for an answer has none."""
IDLE_CONNECTIONS: Final = 32
IDLE_SECONDS: Final = 5.0
"""How long a connection is kept, less than hosts keep it."""
NO_HEADERS: Final[Mapping[str, str]] = {}
PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_NOT_FOR_HEADERS: Final = re.compile(r"[^\x20-\x7e\x80-\xff]")
_REFUSED: Final = re.compile(r"\[Errno (\d+)\] Connect call failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The body of a request that is no JSON."""

    content_type: str
    data: bytes


class Connections:
    """Connections to the host at ``url``, normalised by :func:`modelhost.client.connections.normalize_url`."""

    def __init__(self, url: str, api_key: str | None) -> None:
        """Take the URL and the API key of the host; raises ConfigError if one of them is invalid."""
        self.url = url
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or PORTS[parts.scheme])
        self._base = parts.path
        self._head = _head(parts, url, api_key)
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            lazy.network.require_certificates()
            self._tls = ssl.create_default_context()
        self.keeps = False
        """Whether connections are kept for later requests."""
        self._idle: list[tuple[float, KeepAliveConnection]] = []

    def close(self) -> None:
        """Close idle connections, and keep none any more."""
        self.keeps = False
        while self._idle:
            self._idle.pop()[1].close()

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = NO_HEADERS
    ) -> AsyncIterator[KeepAliveConnection]:
        """Send a request with a body, a :class:`Content` or a value that is sent as JSON, and yield its answer.

        Its status is below 400; leaving the context ends it.

        Raises:
            ModelhostError: the host refused the request.
            HostUnreachable: there is no host, or no modelhost.
        """
        content, content_type = _content(body)
        connection = self._kept() or await self._connected()
        try:
            sent = {**headers, "Content-Type": content_type}
            lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items()).encode()
            try:
                await connection.ask(
                    method, self._base + path, self._head + trace_context.header_lines() + lines, content
                )
                refused = await connection.read_all() if connection.status >= 400 else None
            except ConnectionBroken as error:
                raise self._no_host(str(error)) from error
            if refused is not None:
                retry_after = connection.retry_after_seconds
                raise error_of_status(
                    self.url, connection.status, refused, None if retry_after is None else str(retry_after)
                )
            yield connection
        finally:
            self._release(connection)

    def _kept(self) -> KeepAliveConnection | None:
        while self._idle:
            since, connection = self._idle.pop()
            if connection.is_reusable and time.monotonic() - since < IDLE_SECONDS:
                connection.reset_for_request()
                return connection
            connection.close()
        return None

    def _release(self, connection: KeepAliveConnection) -> None:
        if self.keeps and connection.is_reusable and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()

    async def _connected(self) -> KeepAliveConnection:
        host, port = self._address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    KeepAliveConnection, host, port, ssl=self._tls, server_hostname=host if self._tls else None
                )
        except TimeoutError as error:
            raise self._no_host("timed out") from error
        except OSError as error:
            raise self._no_host(_reason(error)) from error
        return connection

    def _no_host(self, why: str) -> HostUnreachable:
        return HostUnreachable(f"no modelhost answers at {self.url} ({why}); start one with: modelhost serve")


def _content(body: Any) -> tuple[bytes | None, str]:
    if isinstance(body, Content):
        return body.data, body.content_type
    return None if body is None else json_text.encode(body), "application/json"


def _head(parts: SplitResult, url: str, api_key: str | None) -> bytes:
    lines = {"User-Agent": "modelhost", "Accept-Encoding": "identity"}
    if api_key is not None:
        lines["Authorization"] = f"Bearer {api_key}"
    lines["Host"] = parts.netloc.rpartition("@")[2]
    if not lines["Host"].isascii():
        with suppress(UnicodeError):  # otherwise refused below
            name = (parts.hostname or "").encode("idna").decode()
            lines["Host"] = name if parts.port is None else f"{name}:{parts.port}"
    if not lines["Host"].isascii() or any(_NOT_FOR_HEADERS.search(value) for value in (*lines.values(), parts.path)):
        raise ConfigError(f"the key or the address {url} has characters that HTTP does not allow")
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("latin-1")


def _reason(error: OSError) -> str:
    """Return the system's reason for a failed connection; asyncio's message repeats the address."""
    refused = _REFUSED.findall(str(error))
    return f"[Errno {refused[-1]}] {os.strerror(int(refused[-1]))}" if refused else str(error)


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``name`` is empty for an ordinary one."""

    name: str
    data: bytes


class EventReader:
    """Parses server-sent events from bytes. Comments are skipped; a last event without its empty line is ignored.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []

    def read(self, block: bytes) -> list[Event]:
        """Return the events that ``block`` completes."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        events = []
        for line in lines:
            field, colon, value = line.removesuffix(b"\r").partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            elif field == b"event":
                self._name = value.removeprefix(b" ").decode(errors="replace")
            elif not field and not colon:
                if self._data:
                    events.append(Event(self._name, b"\n".join(self._data)))
                self._name, self._data = "", []
        return events


DEFAULT_URL: Final = "http://127.0.0.1:8000"


def normalize_url(url: str) -> str:
    """Return ``url`` with a scheme and without a trailing slash or ``/v1``.

    Raises:
        ConfigError: not an HTTP address. A single word is not one, except ``localhost``.
    """
    has_scheme = "://" in url
    address = (url if has_scheme else f"http://{url}").rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(address)
        is_http = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        if not has_scheme and parts.port is None:
            is_http = is_http and _is_machine(parts.hostname or "")
    except ValueError:
        is_http = False
    if not is_http:
        raise ConfigError(f'"{url}" is not the address of a host; it looks like http://127.0.0.1:8000')
    return address


def _is_machine(name: str) -> bool:
    return name == "localhost" or "." in name or ":" in name
