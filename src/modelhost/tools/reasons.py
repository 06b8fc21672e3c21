"""What went wrong with a server, in one sentence: the SDK's errors come nested in groups, and some say nothing."""

from __future__ import annotations

import httpx2
from mcp.shared.exceptions import MCPError

from modelhost.errors import ModelhostError


class ConnectionLostError(Exception):
    """The connection to a server has ended; the message says how."""


class ConnectTimeoutError(Exception):
    """The server did not become ready in time."""


def innermost(error: BaseException) -> BaseException:
    """The error that a group is about: the first one that is no mere consequence of another."""
    while isinstance(error, BaseExceptionGroup):
        inner = [innermost(each) for each in error.exceptions]
        error = next((each for each in inner if not _is_consequence(each)), inner[0])
    return error


def reason_of(error: BaseException) -> str:
    """Say what happened; the end of a sentence that begins with the server."""
    error = innermost(error)
    match error:
        case ConnectionLostError() | ConnectTimeoutError():
            reason = str(error)
        case ModelhostError():
            reason = error.message
        case MCPError():
            reason = f"answered with the error {error.code}: {error.message}"
        case FileNotFoundError() | NotADirectoryError() | PermissionError():
            reason = f"cannot be started: {error.strerror}: {error.filename}"
        case httpx2.HTTPStatusError():
            reason = f"answered HTTP {error.response.status_code} {error.response.reason_phrase}".rstrip()
        case httpx2.TransportError():
            reason = f"cannot be reached: {str(error) or type(error).__name__}"
        case _:
            reason = f"failed: {type(error).__name__}: {error}".rstrip(": ")
    return reason


def loggable_reason(error: BaseException) -> str:
    """As :func:`reason_of`, without what the server itself wrote: that may be anything."""
    error = innermost(error)
    if isinstance(error, MCPError):
        return f"answered with the error {error.code}"
    is_ours = isinstance(error, ConnectionLostError | ConnectTimeoutError | OSError | httpx2.HTTPError)
    return reason_of(error) if is_ours else f"failed: {type(error).__name__}"


def is_hopeless(error: BaseException) -> bool:
    """Whether the same start would fail the same way: the program or its folder is not there."""
    return isinstance(innermost(error), FileNotFoundError | NotADirectoryError | PermissionError)


def _is_consequence(error: BaseException) -> bool:
    return isinstance(error, ConnectionLostError) or (isinstance(error, MCPError) and error.code == -32000)
