"""Errors in the format of Anthropic's API, with the host's stable code, the field and the details besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from modelhost.errors import ContextLengthExceeded, ModelhostError, QueueFull, Unauthorized
from modelhost.http.errors import Answer, error_answer, error_object, with_body

OVERLOADED_STATUS: Final = 529
"""Anthropic's own, which its clients retry."""
TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
    OVERLOADED_STATUS: "overloaded_error",
}


def anthropic_error(error: ModelhostError) -> Answer:
    """Return status, headers and body for ``error``."""
    status, headers, _ = error_answer(error)
    if isinstance(error, QueueFull):
        status = OVERLOADED_STATUS
    return with_body((status, headers, b""), orjson.dumps(error_event(error, status), default=str))


def error_block(error: ModelhostError) -> bytes:
    """Return ``error`` as the last event of a stream."""
    status, _, _ = anthropic_error(error)
    return b"event: error\ndata: " + orjson.dumps(error_event(error, status), default=str) + b"\n\n"


def error_event(error: ModelhostError, status: int) -> dict[str, Any]:
    known = error_object(error)["error"]
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    described = {name: known[name] for name in ("code", "param", "source", "details")}
    return {"type": "error", "error": {"type": kind, "message": _message(error), **described}}


def _message(error: ModelhostError) -> str:
    """Return the message; Claude Code knows from the first words of one that it has to shorten the conversation."""
    if isinstance(error, ContextLengthExceeded):
        tokens, limit = error.details.get("prompt_tokens"), error.details.get("context_length")
        return f"prompt is too long: {tokens} tokens > {limit} maximum. {error.message}"
    if isinstance(error, Unauthorized):
        return f"{error.message} The header x-api-key is accepted, too."
    return error.message
