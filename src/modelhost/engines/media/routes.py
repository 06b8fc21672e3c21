"""The HTTP side of a worker for sound: plain ASGI, the key, answers that are streamed, clients that disconnect."""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from modelhost.engines.media.jobs import Job, Jobs
from modelhost.engines.media.refusals import NO_MEMORY, is_out_of_memory
from modelhost.engines.worker.asgi import (
    PROCESSING,
    ErrorResponse,
    Receive,
    Routes,
    Scope,
    Send,
    error_body,
    not_found,
    read_body,
    while_connected,
)

Prepare = Callable[[bytes], tuple[Job, str]]
"""Returns the job for a body, and the media type of its answer; raises ErrorResponse."""


class MediaRoutes(Routes):
    """The ASGI application of a worker; ``config`` has its key and its name, ``tasks`` what it does, by path."""

    def __init__(self, config: Mapping[str, Any], tasks: Mapping[str, Prepare]) -> None:
        super().__init__(config)
        self._tasks = tasks
        self._jobs = Jobs()

    async def route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the job of a path, of which the client is told when it begins."""
        path = scope["path"]
        if scope["method"] != "POST" or path not in self._tasks:
            raise not_found()
        job, content_type = self._tasks[path](await read_body(receive))
        parts = self._jobs.stream(job, scope.get("state", {}).get(PROCESSING))
        await while_connected(receive, _send(parts, content_type, send))


async def _send(parts: AsyncGenerator[bytes, None], content_type: str, send: Send) -> None:
    """Send an answer. An error before its first part is an ordinary one; a later one breaks the connection."""
    has_begun = False
    async with aclosing(parts):
        try:
            async for part in parts:
                if not has_begun:
                    has_begun = True
                    await send(_head(content_type))
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except ErrorResponse:
            if not has_begun:
                raise
            raise RuntimeError("refused in the middle of an answer") from None
        except Exception as error:
            traceback.print_exc()
            sys.stderr.flush()
            if has_begun:
                raise
            raise _failure(error) from error
    if not has_begun:
        await send(_head(content_type))
    await send({"type": "http.response.body", "body": b""})


def _failure(error: Exception) -> ErrorResponse:
    """Return the answer for what went wrong in a library, whose words are in the log."""
    if is_out_of_memory(error):
        message = "There is not enough memory for this request: send less at once, or unload other models."
        return ErrorResponse(507, error_body(507, NO_MEMORY, message))
    return ErrorResponse(500, error_body(500, "server_error", f"{type(error).__name__}: {error}"))


def _head(content_type: str) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type.encode())]}
