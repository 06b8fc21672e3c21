"""Streamed answers of workers: server-sent events, whole ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

END_OF_EVENT: Final = b"\n\n"
DATA, DONE = b"data: ", b"[DONE]"


class Body(Protocol):
    """The body of an answer as it arrives; ``b""`` at its end."""

    async def read(self) -> bytes: ...


class EventBlocks:
    """A streamed answer, read as blocks of whole events: no block ends inside an event."""

    def __init__(self, body: Body, received: Callable[[bytes], bytes] | None = None) -> None:
        """``received`` is applied to each block, and may leave nothing of it."""
        self._body = body
        self._received = received
        self._rest = b""

    async def read(self) -> bytes:
        """Return the next block, or ``b""`` at the end of the answer."""
        while block := await self._body.read():
            if self._rest or not block.endswith(END_OF_EVENT):
                block = self._whole_events(block)
            if block and (self._received is None or (block := self._received(block))):
                return block
        return b""

    def _whole_events(self, block: bytes) -> bytes:
        """Return the whole events of what has arrived so far; the rest is kept."""
        block = self._rest + block
        end = block.rfind(END_OF_EVENT) + len(END_OF_EVENT)
        if end < len(END_OF_EVENT):
            end = 0
        self._rest = block[end:]
        return block[:end]
