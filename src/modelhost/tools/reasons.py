"""Why a server failed, in one sentence: the SDK's errors come nested in groups, and some say nothing."""

from __future__ import annotations

import httpx2
from mcp.shared.exceptions import MCPError

from modelhost.config.network import through
from modelhost.errors import ConfigError, ModelhostError


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
    said = f"answered{through(str(request.url))} HTTP {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code != httpx2.codes.UNAUTHORIZED:
        return said
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


def _way_of(error: httpx2.TransportError) -> str:
    try:
        return through(str(error.request.url))
    except RuntimeError:  # it was made without a request
        return ""


def _is_consequence(error: BaseException) -> bool:
    return isinstance(error, ConnectionLostError) or (isinstance(error, MCPError) and error.code == -32000)
