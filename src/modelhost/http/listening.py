"""The server: uvicorn with the application, imported while the worker of the model starts."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from modelhost import lazy, logs
from modelhost.config.settings import Settings
from modelhost.http.app import build_app
from modelhost.http.door_errors import error_answer_at
from modelhost.lazy import without

with without("watchfiles"):  # 1 MB for its reloader, which is not used
    import uvicorn

from modelhost.http.wire.connection import Connection
from modelhost.http.wire.limits import Limits

if TYPE_CHECKING:  # at run time it imports the operations, which answers do not need
    from modelhost.host import Host

log = logs.get_logger(__name__)

BYTES_PER_MB: Final = 1_000_000
CHECK_SECONDS: Final = 1.0
"""The interval of checking connections, and the precision of their timeouts."""


class Server(uvicorn.Server):
    """uvicorn's server for ``host``, without its signal handlers, which :mod:`modelhost.http.signals` replaces."""

    def __init__(
        self,
        host: Host,
        *,
        mcp_port: int | None,
        ollama_port: int | None = None,
        backlog: int,
        on_listening: Callable[[], None],
    ) -> None:
        """Take the host; raises ConfigError if a path for prompts is taken."""
        self._stopping = asyncio.Event()  # ends endless answers
        self._on_listening = on_listening
        settings = host.settings
        self._app = build_app(host, stopping=self._stopping, mcp_port=mcp_port, ollama_port=ollama_port)
        limits = Limits.of(settings)
        protocol = partial(Connection, limits, error_answer_at(settings))
        super().__init__(
            uvicorn.Config(
                self._app,
                http=cast("type[asyncio.Protocol]", protocol),
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                lifespan="off",
                ws=cast("type[asyncio.Protocol]", partial(_web_socket, limits)),
                ws_max_size=int(settings.max_body_mb * BYTES_PER_MB),
                ws_per_message_deflate=False,  # events are small, and most clients are near
                backlog=backlog,
                timeout_keep_alive=settings.idle_timeout,
                timeout_graceful_shutdown=math.ceil(settings.shutdown_timeout),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._watching = asyncio.create_task(self._watch(), name="watch connections")
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets=sockets)
        finally:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def admit(self, settings: Settings) -> None:
        """Apply the access control of ``settings`` from the next request on."""
        self._app.admit(settings)

    def drain(self) -> None:
        """Stop like :meth:`stop_gracefully`, but without a timeout for requests in flight."""
        self.config.timeout_graceful_shutdown = None
        self.stop_gracefully()

    def stop_gracefully(self) -> None:
        """Take no more requests, and stop when those in flight are answered."""
        log.info("stopping", requests=len(self.server_state.tasks))
        self._stopping.set()
        self.should_exit = True

    async def _watch(self) -> None:
        """Close the connections of clients that exceed a timeout."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for connection in tuple(self.server_state.connections):
                cast("Connection", connection).check(loop.time())


def _web_socket(limits: Limits, **arguments: Any) -> asyncio.Protocol:
    """Return the protocol of a connection that becomes a WebSocket; its library is imported with the first."""
    return lazy.http_web_sockets.WebSocketConnection(limits, **arguments)
