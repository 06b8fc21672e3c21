"""Failures of servers: why one failed, when it is started again, and how long requests wait for a start.

The SDK's errors come nested in groups, and some say nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import httpx2
from mcp.shared.exceptions import MCPError

from modelhost.config.network import through
from modelhost.errors import ConfigError, FetchRefused, ModelhostError
from modelhost.tools.entry import HttpTransport, ServerEntry

FOREIGN: Final = "modelhost_foreign"
"""The extension of HTTP requests to servers that a client named: no proxy is used, and they are not in ``mcp.json``."""


class ConnectionLostError(Exception):
    """The connection to a server has ended; the message says how."""


class ConnectTimeoutError(Exception):
    """The server did not become ready in time."""


def innermost(error: BaseException) -> BaseException:
    """Return the error that a group is about: the first that is not just a consequence of another."""
    while isinstance(error, BaseExceptionGroup):
        inner = [innermost(each) for each in error.exceptions]
        error = next((each for each in inner if not _is_consequence(each)), inner[0])
    return error


def reason_of(error: BaseException) -> str:
    """Return what happened, as the end of a sentence that begins with the server."""
    error = innermost(error)
    match error:
        case ConnectionLostError() | ConnectTimeoutError():
            reason = str(error)
        case FetchRefused():
            reason = f"cannot be connected to: {error.message}"
        case ModelhostError():
            reason = error.message
        case MCPError():
            reason = f"answered with the error {error.code}: {error.message}"
        case FileNotFoundError() | NotADirectoryError() | PermissionError():
            reason = f"cannot be started: {error.strerror}: {error.filename}"
        case httpx2.HTTPStatusError():
            reason = refusal_of(error.response)
        case httpx2.TransportError():
            reason = f"cannot be reached{_way_of(error)}: {str(error) or type(error).__name__}"
        case _:
            reason = f"failed: {type(error).__name__}: {error}".rstrip(": ")
    return reason


def refusal_of(response: httpx2.Response) -> str:
    """Return what a remote server answered and what helps, as the end of a sentence that begins with the server."""
    request = response.request
    said = f"answered{_way_to(request)} HTTP {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code != httpx2.codes.UNAUTHORIZED:
        return said
    if request.extensions.get(FOREIGN):
        return f"{said}: it wants another authorization than that of the request"
    if "Authorization" in request.headers:
        return f'{said}: it refuses the key of its entry in mcp.json ("bearer_token", or "headers")'
    return f'{said}: it wants a key; give it as "bearer_token", or in "headers", of its entry in mcp.json'


def loggable_reason(error: BaseException) -> str:
    """As :func:`reason_of`, without text from the server, which may hold anything."""
    error = innermost(error)
    if isinstance(error, MCPError):
        return f"answered with the error {error.code}"
    is_ours = isinstance(error, ConnectionLostError | ConnectTimeoutError | ConfigError | OSError | httpx2.HTTPError)
    return reason_of(error) if is_ours else f"failed: {type(error).__name__}"


def is_hopeless(error: BaseException) -> bool:
    """Whether another start would fail the same way: the program or its folder is missing, or a setting is wrong."""
    return isinstance(innermost(error), FileNotFoundError | NotADirectoryError | PermissionError | ConfigError)


def connect_timeout(entry: ServerEntry) -> ConnectTimeoutError:
    """Return the error of a server that took too long to become ready."""
    transport = entry.transport
    way = through(transport.url) if isinstance(transport, HttpTransport) and transport.guard is None else ""
    return ConnectTimeoutError(f"did not become ready{way} within {entry.connect_timeout_seconds:g} s")


def _way_of(error: httpx2.TransportError) -> str:
    try:
        return _way_to(error.request)
    except RuntimeError:  # it was made without a request
        return ""


def _way_to(request: httpx2.Request) -> str:
    return "" if request.extensions.get(FOREIGN) else through(str(request.url))


def _is_consequence(error: BaseException) -> bool:
    return isinstance(error, ConnectionLostError) or (isinstance(error, MCPError) and error.code == -32000)


FIRST_SECONDS: Final = 0.1
FACTOR: Final = 2.0
MAX_SECONDS: Final = 30.0
MAX_FAILURES: Final = 5
"""In a row. A process that fails this often fails for a reason that another start does not fix."""
REMOTE_MAX_FAILURES: Final = 9
"""In a row, of a remote server: some 25 seconds, enough for it to be restarted where it runs."""
STABLE_SECONDS: Final = 30.0
"""A server that was ready this long is not in a crash loop."""
REMOTE_RETRY_SECONDS: Final = 60.0
"""After the last failure in a row of a remote server: it may come back by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What follows a failure. ``after_seconds`` is ``None`` if someone has to restart the server."""

    failures: int
    after_seconds: float | None
    has_failed: bool


def after_failure(failures: int, ready_seconds: float, *, is_remote: bool, is_hopeless: bool = False) -> Retry:
    """Decide what follows a failure, after ``failures`` in a row and ``ready_seconds`` in which the server was ready.

    ``is_hopeless``: restarting cannot help, since the program does not exist or a setting is wrong.
    """
    count = 1 if ready_seconds >= STABLE_SECONDS else failures + 1
    if is_hopeless:
        return Retry(failures=count, after_seconds=None, has_failed=True)
    if count >= (REMOTE_MAX_FAILURES if is_remote else MAX_FAILURES):
        return Retry(failures=count, after_seconds=REMOTE_RETRY_SECONDS if is_remote else None, has_failed=True)
    seconds = min(FIRST_SECONDS * FACTOR ** (count - 1), MAX_SECONDS)
    return Retry(failures=count, after_seconds=seconds, has_failed=False)


LONGEST_WAIT_SECONDS: Final = 15.0
"""For all requests together: clients give up not much later, and an answer without a tool is better than none."""


class StartupWait:
    """How long requests wait for the first attempt to connect a server. The time begins with the first request."""

    def __init__(self, attempt_seconds: float) -> None:
        """The attempt begins now and takes ``attempt_seconds`` at most."""
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + attempt_seconds
        self._has_begun = False

    def seconds_left(self) -> float:
        """Return the time that is left, 0 when it is over; the first call starts the time."""
        if not self._has_begun:
            self._has_begun = True
            self._ends_at = min(self._ends_at, self._loop.time() + LONGEST_WAIT_SECONDS)
        return max(0.0, self._ends_at - self._loop.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingServers:
    """The servers that a request waits for."""

    servers: tuple[str, ...]
    seconds: float
    """At most."""
