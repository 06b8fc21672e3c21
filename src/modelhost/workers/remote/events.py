"""The streamed answer of another server, converted to what our workers send.

Servers use everything that server-sent events allow (names, ids, comments, any line ends, data in several lines), so
httpx2 parses them. That takes some ten microseconds per event, which is why our own workers are not read like that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final

import httpx2
import orjson

from modelhost.engines.remote.answers import MALFORMED, RemoteAnswer
from modelhost.exchange.tasks import Task
from modelhost.workers.connection import ConnectionBroken
from modelhost.workers.wire import DATA, DONE, END_OF_EVENT, Body, EventBlocks

ANSWER_TO: Final = httpx2.Request("POST", "http://there")
STREAM: Final = {"content-type": "text/event-stream; charset=utf-8"}
ERROR: Final = "error"
MESSAGE: Final = "message"
DONE_DATA: Final = DONE.decode()
NOT_JSON: Final = {"error": {"message": "an event of its answer is not JSON", "type": MALFORMED}}
CHUNK_FIELDS: Final = frozenset({"choices", "usage", "error"})
BLANK: Final = b"\xef\xbb\xbf \t\r\n"  # with the byte order mark of UTF-8
STOPPED: Final = "its answer stopped before its end"
END: Final = DATA + DONE + END_OF_EVENT


class RemoteEvents(EventBlocks):
    """A streamed answer in OpenAI's format, with our name of the model; an unstreamed answer is converted."""

    def __init__(self, body: Body, received: Callable[[bytes], bytes] | None = None, *, task: Task, model: str) -> None:
        super().__init__(body, received)
        self._answer = RemoteAnswer(task, model=model)
        self._blocks = self._written()
        self._is_done = self._is_over = False

    async def aclose(self) -> None:
        """Stop reading."""
        await self._blocks.aclose()

    async def read(self) -> bytes:
        """As that of :class:`EventBlocks`.

        Raises:
            ConnectionBroken: the answer ended before it was complete.
        """
        while block := await anext(self._blocks, b""):
            if self._received is None or (block := self._received(block)):
                return block
        return b""

    async def _written(self) -> AsyncGenerator[bytes, None]:
        try:
            head = await self._head()
            async with aclosing(self._of_whole(head) if head.startswith(b"{") else self._of_events(head)) as blocks:
                async for block in blocks:
                    yield block
        except ConnectionBroken:
            if not (self._is_done or self._answer.is_complete):
                raise
        if not self._is_done:
            if not self._answer.is_complete:
                raise ConnectionBroken(STOPPED)
            yield END  # some servers leave it out

    async def _head(self) -> bytes:
        """Return the beginning of the body, without leading blanks."""
        head = b""
        while not head and (block := await self._body.read()):
            head = block.lstrip(BLANK)
        return head

    async def _of_whole(self, head: bytes) -> AsyncGenerator[bytes, None]:
        while block := await self._body.read():
            head += block
        try:
            answer = orjson.loads(head)
        except orjson.JSONDecodeError:
            raise ConnectionBroken(STOPPED) from None
        for payload in self._answer.whole(answer):
            yield _event(payload)

    async def _of_events(self, head: bytes) -> AsyncGenerator[bytes, None]:
        response = httpx2.Response(HTTPStatus.OK, headers=STREAM, content=self._bytes(head), request=ANSWER_TO)
        async for event in httpx2.EventSource(response, max_event_size=None):
            data = event.data.strip()
            if data == DONE_DATA:
                self._is_done = True
                yield END
            elif data and (payload := self._payload(event.event, data)) is not None:
                yield _event(payload)

    async def _bytes(self, head: bytes) -> AsyncGenerator[bytes, None]:
        yield head
        while block := await self._body.read():
            yield block
        self._is_over = True
        yield END_OF_EVENT  # some servers leave it out after the last event

    def _payload(self, name: str, data: str) -> dict[str, Any] | None:
        """Return what the client gets for an event; ``None`` if it is no part of the answer."""
        try:
            payload = orjson.loads(data)
        except orjson.JSONDecodeError:
            payload = None
        if name == ERROR and not (isinstance(payload, dict) and payload.get("error")):
            return {"error": payload if isinstance(payload, dict) else {"message": data}}
        if not isinstance(payload, dict):
            if self._is_over:
                raise ConnectionBroken(STOPPED)
            return NOT_JSON
        is_chunk = name == MESSAGE or not CHUNK_FIELDS.isdisjoint(payload)
        return self._answer.chunk(payload) if is_chunk else None


def _event(payload: dict[str, Any]) -> bytes:
    return DATA + orjson.dumps(payload) + END_OF_EVENT
