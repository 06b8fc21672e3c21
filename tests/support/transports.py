"""A transport whose other end is the test."""

from __future__ import annotations

import asyncio
from typing import Any


class HeldTransport(asyncio.Transport):
    """Keeps what is written until the test takes it, as a socket does whose reader takes nothing."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self.written = b""
        """All that was ever written."""
        self.unsent_bytes = 0
        """What the kernel has not taken; set by the test."""
        self.is_reading_paused = False
        self.has_ended_writing = False
        self.how_closed = ""
        """``closed`` or ``aborted``."""

    def write(self, data: Any) -> None:
        assert not self.has_ended_writing
        if not self.how_closed:
            self.written += bytes(data)

    def write_eof(self) -> None:
        self.has_ended_writing = True

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return bool(self.how_closed)

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def _end(self, how: str) -> None:
        if not self.how_closed:
            self.how_closed = how
            if how == "aborted" or not self.unsent_bytes:
                asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
