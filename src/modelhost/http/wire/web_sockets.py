"""A client's WebSocket: uvicorn's, with the limits of connections. Imported with the first one."""

from __future__ import annotations

from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from modelhost.http.wire.limits import Limits, SlowReader
from modelhost.logs import get_logger

log = get_logger(__name__)


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Closes when its client does not read, and lets the application end it when the host stops."""

    def __init__(self, limits: Limits, *, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        """Take ``limits`` and uvicorn's arguments."""
        super().__init__(config, server_state, app_state)
        self._limits = limits
        self._reader = SlowReader()

    async def send(self, message: Any) -> None:
        """Send what the application sends; a refusal completes the handshake, which uvicorn takes for a fault."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def resume_writing(self) -> None:
        """Note that the client has read."""
        self._reader.has_read()
        super().resume_writing()

    def shutdown(self) -> None:
        """Leave the end to the application, which knows what is in flight; uvicorn would cut it off."""
        if not self.handshake_initiated:
            super().shutdown()

    def check(self, now: float) -> None:
        """Close the connection if its client does not read."""
        is_paused = self.transport.is_closing() or not self.writable.is_set()
        if self._reader.seconds(self.transport, now, is_paused=is_paused) >= self._limits.slow_reader_seconds:
            log.warning("slow_reader_cut", client=self.client, unsent_bytes=self._reader.unsent_bytes)
            self.transport.abort()
