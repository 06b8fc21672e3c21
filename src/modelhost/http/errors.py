"""Errors as OpenAI error objects with a status; the only place with status codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from modelhost import errors
from modelhost.errors import ModelhostError, Unauthorized, Unavailable, UnsupportedEncoding

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""

STATUS: Mapping[type[ModelhostError], int] = {
    errors.InvalidRequest: 400,
    errors.InvalidJson: 400,
    errors.UnsupportedParameter: 400,
    errors.UnsupportedOperation: 400,
    errors.ContextLengthExceeded: 400,
    errors.InvalidAudio: 400,
    errors.InvalidImage: 400,
    errors.NothingToSpeak: 400,
    errors.ModelRequired: 400,
    errors.Unauthorized: 401,
    errors.ForeignOrigin: 403,
    errors.ModelNotAllowed: 403,
    errors.ModelNotFound: 404,
    errors.NotFound: 404,
    errors.ModelBusy: 409,
    errors.MethodNotAllowed: 405,
    errors.InvalidEncryptedContent: 400,
    errors.InvalidAnswer: 422,
    errors.FetchRefused: 400,
    errors.FetchFailed: 400,
    errors.ConnectionLimitReached: 400,
    errors.RequestTooLarge: 413,
    errors.HostFault: 500,
    errors.UnsupportedEncoding: 415,
    errors.HeadersTooLarge: 431,
    errors.RequestTimedOut: 408,
    errors.EngineError: 502,
    errors.WorkerCrashed: 502,
    errors.WorkerStartFailed: 503,
    errors.QueueFull: 503,
    errors.TooManyConnections: 503,
    errors.ModelFailed: 503,
    errors.ModelUnloaded: 503,
    errors.InsufficientMemory: 507,
    errors.DiskFull: 507,
    errors.ShuttingDown: 503,
    errors.QueueTimeout: 504,
    errors.McpServerNotFound: 404,
    errors.ToolNotFound: 404,
    errors.ToolServerUnavailable: 503,
    errors.ToolCallFailed: 502,
    errors.SessionNotFound: 404,
    errors.SessionBusy: 409,
    errors.StateNotFound: 404,
    errors.ResponseNotFound: 404,
    errors.PreviousResponseNotFound: 404,
    errors.ConversationNotFound: 404,
    errors.ItemNotFound: 404,
    errors.StateDamaged: 422,
    errors.DatabaseUnavailable: 503,
    # Errors of configuration, raised before the host listens or by an administrative operation.
    errors.ConfigError: 400,
    errors.ModelFileMissing: 404,
    errors.ModelFileInvalid: 422,
    errors.EngineMissing: 501,
    errors.DownloadFailed: 502,
    errors.PortInUse: 500,
    errors.HostUnreachable: 502,
    errors.SystemLibraryMissing: 500,
}


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
