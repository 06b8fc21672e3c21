"""The listener of a worker written in Python: uvicorn on the host's socket, announced once it listens."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelhost.engines.worker.asgi import PROCESSING

BACKLOG = 2048


class _Protocol(HttpToolsProtocol):
    """Has interim answers (RFC 2518, 10.1), for which ASGI has no message."""

    def on_headers_complete(self) -> None:
        self.scope["state"][PROCESSING] = self._say_processing
        super().on_headers_complete()

    def _say_processing(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 102 Processing\r\n\r\n")


class _Server(uvicorn.Server):
    """Reports when it listens, and exits at once at SIGTERM: the host has drained the requests before."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGINT:
            os._exit(0)


def serve(app: Any, socket_path: str | None, on_listening: Callable[[str], None]) -> None:
    """Serve the ASGI application ``app`` until the process ends; ``on_listening`` is called with the URL.

    Without ``socket_path`` the server takes a free port on loopback.
    """
    listener, url = _listen(socket_path)
    settings = uvicorn.Config(
        app,
        loop="uvloop",
        http=_Protocol,
        ws="none",
        lifespan="off",
        backlog=BACKLOG,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
    )
    _Server(settings, lambda: on_listening(url)).run(sockets=[listener])


def _listen(socket_path: str | None) -> tuple[socket.socket, str]:
    if socket_path is None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(socket_path)
    return listener, f"unix://{socket_path}"
