"""Errors as OpenAI error objects with a status; the only place with status codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from modelhost import errors
from modelhost.errors import ModelhostError, Unauthorized, Unavailable, UnsupportedEncoding

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""

_LEAVES: Mapping[int, tuple[type[ModelhostError], ...]] = {
    400: (
        *(errors.InvalidRequest, errors.InvalidJson, errors.UnsupportedParameter, errors.UnsupportedOperation),
        *(errors.ContextLengthExceeded, errors.InvalidAudio, errors.InvalidImage, errors.NothingToSpeak),
        *(errors.ModelRequired, errors.InvalidEncryptedContent, errors.FetchRefused, errors.FetchFailed),
        *(errors.ConnectionLimitReached, errors.ConfigError),
    ),
    401: (errors.Unauthorized,),
    403: (errors.ForeignOrigin, errors.ModelNotAllowed),
    404: (
        *(errors.ModelNotFound, errors.NotFound, errors.McpServerNotFound, errors.ToolNotFound),
        *(errors.SessionNotFound, errors.StateNotFound, errors.ResponseNotFound, errors.PreviousResponseNotFound),
        *(errors.ConversationNotFound, errors.ItemNotFound, errors.ModelFileMissing),
    ),
    405: (errors.MethodNotAllowed,),
    408: (errors.RequestTimedOut,),
    409: (errors.ModelBusy, errors.SessionBusy),
    413: (errors.RequestTooLarge,),
    415: (errors.UnsupportedEncoding,),
    422: (errors.InvalidAnswer, errors.StateDamaged, errors.ModelFileInvalid),
    431: (errors.HeadersTooLarge,),
    500: (errors.HostFault, errors.PortInUse, errors.SystemLibraryMissing),
    501: (errors.EngineMissing,),
    502: (
        *(errors.EngineError, errors.WorkerCrashed, errors.ToolCallFailed, errors.DownloadFailed),
        errors.HostUnreachable,
    ),
    503: (
        *(errors.WorkerStartFailed, errors.QueueFull, errors.TooManyConnections, errors.ModelFailed),
        *(errors.ModelUnloaded, errors.ShuttingDown, errors.ToolServerUnavailable, errors.DatabaseUnavailable),
    ),
    504: (errors.QueueTimeout,),
    507: (errors.InsufficientMemory, errors.DiskFull),
}
STATUS: Mapping[type[ModelhostError], int] = {leaf: status for status, leaves in _LEAVES.items() for leaf in leaves}
"""Errors of configuration are raised before the host listens, or by an administrative operation."""


def error_type(error: ModelhostError) -> str:
    """Return OpenAI's ``type`` for ``error``."""
    if isinstance(error, Unauthorized):
        return "authentication_error"
    status = STATUS[type(error)]
    if isinstance(error, Unavailable) or status == 503:
        return "service_unavailable"
    return "invalid_request_error" if status < 500 else "server_error"


def error_object(error: ModelhostError) -> dict[str, Any]:
    """Return ``error`` as the body of an answer."""
    return {
        "error": {
            "message": error.message,
            "type": error_type(error),
            "param": error.param,
            "code": error.code,
            "source": error.source,
            "details": dict(error.details),
        }
    }


def with_body(answer: Answer, body: bytes) -> Answer:
    """Return ``answer`` with another body of the same type."""
    status, headers, _ = answer
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return status, [*kept, (b"content-length", str(len(body)).encode())], body


def error_answer(error: ModelhostError) -> Answer:
    """Return status, headers and body for ``error``."""
    body = orjson.dumps(error_object(error), default=str)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, UnsupportedEncoding):
        headers.append((b"accept-encoding", b"gzip"))
    return STATUS[type(error)], headers, body
