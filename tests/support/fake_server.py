"""A host in memory behind a real socket, for tests of what talks to hosts over HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any, cast

import uvicorn

from modelhost.http.app import build_app


class Served:
    """A host on a free port, in a thread of its own."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = build_app(cast("Any", host), stopping=self._stopping)
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with closing(self._loop):
            self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))

    def do(self, what: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(what)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What ``work`` gives, done where the host lives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def stop(self) -> None:
        """As a signal stops a host."""
        if self._thread.is_alive():
            self.do(self._stopping.set)
            self._server.should_exit = True
            self._thread.join()
