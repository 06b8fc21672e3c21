"""Whether a server's refusal means that it no longer knows our session; pure.

The specification has HTTP 404 for that. Many servers say HTTP 400 and tell why in the body, in words of their own:
"Session not found", "No valid session ID provided", "Server not initialized".
"""

from __future__ import annotations

from typing import Final

import mcp_types as types
import orjson

WORDS: Final = ("session", "not initialized")
OF_A_REQUEST: Final = frozenset({types.PARSE_ERROR, types.METHOD_NOT_FOUND, types.INVALID_PARAMS, types.INTERNAL_ERROR})
"""Codes of JSON-RPC that speak of one request, whatever the message mentions."""


def is_session_loss(body: bytes) -> bool:
    """Whether the body of an answer with HTTP 400, to a request that named a session, says that there is none."""
    error = _error_in(body)
    if error is None:
        said = body.decode(errors="replace")
    elif error.get("code") in OF_A_REQUEST:
        return False
    else:
        said = str(error.get("message", ""))
    return any(word in said.lower() for word in WORDS)


def _error_in(body: bytes) -> dict[str, object] | None:
    """The error object of JSON-RPC, if the body is one."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else None
