"""Answers to HTTP/1.0 clients: one without a length ends with the connection (RFC 9112, section 6.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class Unframed:
    """Wraps an application for one request, so that uvicorn does not chunk its answer.

    ``cycle`` is uvicorn's state of the request, to be set before it runs.
    """

    cycle: RequestResponseCycle

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_unframed = False

        async def send_unframed(message: Any) -> None:
            nonlocal is_unframed
            if message["type"] == "http.response.start":
                is_unframed = all(name.lower() != b"content-length" for name, _ in message["headers"])
                if is_unframed:
                    self.cycle.chunked_encoding = False
            elif is_unframed:  # with neither chunks nor a length, uvicorn has to expect exactly this
                self.cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, send_unframed)
