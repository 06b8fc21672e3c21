"""One HTTP exchange: reads the body, sends an answer or a stream, and detects that the client disconnects."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.types import Message, Receive, Scope, Send

from modelhost import json_text
from modelhost.disconnect import ClientDisconnected, Disconnection, cancel_on_disconnect, cancel_when_told
from modelhost.errors import HostFault, InvalidJson, ModelhostError, RequestTooLarge, ShuttingDown
from modelhost.exchange.sse import DONE_EVENT, END_OF_EVENT
from modelhost.http.errors import Answer, error_answer, error_object
from modelhost.logs import get_logger

log = get_logger(__name__)

Headers = list[tuple[bytes, bytes]]
DISCONNECTION: Final = "modelhost.disconnection"
"""In the scope: the :class:`~modelhost.disconnect.Disconnection` of the client, from servers that tell it."""
CLIENT_DISCONNECTED_STATUS = 499  # nginx's number for it; only logs and metrics see it
NOTES: Final = b"x-modelhost-notes"
MOST_NOTES: Final = 32
"""In the headers of an answer: Python's ``http.client`` accepts 100 headers in all, and proxies often 8 KB."""
MORE_NOTES: Final = b"more-left-out"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorFormat:
    """How a door writes errors and streams."""

    error_answer: Callable[[ModelhostError], Answer]
    error_block: Callable[[ModelhostError], bytes]
    """The last block of a stream that fails."""
    end: bytes
    """What the last block of a complete stream ends with."""
    content_type: bytes = EVENT_STREAM
    keep_alive: bytes = b": keep-alive\n\n"
    """What clients ignore, sent when a stream has been silent for long."""


def _error_event(error: ModelhostError) -> bytes:
    return b"data: " + orjson.dumps(error_object(error), default=str) + END_OF_EVENT


OPENAI: Final = DoorFormat(error_answer=error_answer, error_block=_error_event, end=DONE_EVENT)

FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
"""Content types of forms."""


class Sending:
    """The ``send`` of an ASGI application whose answers all have certain headers."""

    __slots__ = ("_added", "has_begun", "rest")

    def __init__(self, send: Send, added: Headers) -> None:
        """Take what sends, and the headers."""
        self.rest = send
        """Sends what follows the head, of which there may be a message for each token."""
        self._added = added
        self.has_begun = False
        """Whether the head has been sent, or was about to be."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            message["headers"] = [*message["headers"], *self._added]
        await self.rest(message)


def after_head(send: Send) -> Send:
    """Return what sends the rest of an answer, once ``send`` has sent its head."""
    return send.rest if isinstance(send, Sending) else send


class Exchange:
    """Wraps the scope, receive and send of an ASGI request."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        keep_alive_seconds: float = 15.0,
        form: DoorFormat = OPENAI,
    ) -> None:
        """Take them, and the format of the door."""
        self._scope = scope
        self._receive = receive
        self._send = send
        self._form = form
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._keep_alive_seconds = keep_alive_seconds
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._keep_alive_task: asyncio.Task[None] | None = None
        self._has_body = False
        self._byte_type: bytes | None = None  # of an answer in bytes
        self._has_ended = False  # an answer in bytes
        self._end = b""  # of what was sent; a whole block would be kept until the collector frees this
        self._end_bytes = len(form.end)
        self.has_begun = False
        self._was_queued = False
        self.headers: Headers = []
        """Further headers of the answer."""
        self.error_block = form.error_block
        """Writes the last block of a stream that fails."""
        self.model: Any = None
        """The model that the request names, as it names it; for metrics and logs."""

    def add_queue_position(self, position: int) -> None:
        """Add the first position in the queue to the headers."""
        if not self._was_queued:
            self._was_queued = True
            self.headers.append((b"x-queue-position", str(position).encode()))

    def add_note(self, note: str) -> None:
        """Add a note on the request to the headers, as long as the answer has not begun.

        Each is sent once, and of more than :data:`MOST_NOTES` only that there are more.
        """
        header = (NOTES, note.encode())
        count = sum(name == NOTES for name, _ in self.headers)
        if header in self.headers or count > MOST_NOTES:
            return
        self.headers.append(header if count < MOST_NOTES else (NOTES, MORE_NOTES))

    @property
    def content_type(self) -> str:
        """The media type of the body; empty if the head does not say."""
        found = next((value for name, value in self._scope["headers"] if name == b"content-type"), b"")
        return bytes(found).decode("latin-1")

    async def body(self, limit_bytes: int) -> bytes:
        """Return the body.

        Raises:
            RequestTooLarge: it is larger than ``limit_bytes``.
            ClientDisconnected: before its end.
        """
        parts, size = [], 0
        _check_size(self.declared_length, limit_bytes)
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            part = message.get("body", b"")
            size += len(part)
            _check_size(size, limit_bytes)
            parts.append(part)
            if not message.get("more_body", False):
                break
        self._has_body = True
        return b"".join(parts)

    async def json(self, limit_bytes: int, *, if_empty: Any = None) -> Any:
        """Return the decoded body, or ``if_empty`` for an empty one.

        Raises:
            RequestTooLarge, InvalidJson: the body cannot be used.
            ClientDisconnected: before the end of the body.
        """
        data = await self.body(limit_bytes)
        if not data and if_empty is not None:
            return if_empty
        try:
            return orjson.loads(data.removeprefix(BOM_UTF8))  # as programs on Windows begin a text
        except orjson.JSONDecodeError as error:
            raise InvalidJson(f"The body is not valid JSON: {error}.{_about_form(self.content_type)}") from None

    async def body_parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, whatever its size; raises ClientDisconnected before its end."""
        is_last = False
        while not is_last:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            yield message.get("body", b"")
            is_last = not message.get("more_body", False)

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def declared_length(self) -> int:
        """The bytes of the body that the head announces; 0 if it does not say."""
        for name, value in self._scope["headers"]:
            if name == b"content-length":
                return int(value)
        return 0

    def until_disconnected(self) -> AbstractAsyncContextManager[None]:
        """Cancel what is inside when the client disconnects, and raise :class:`ClientDisconnected`."""
        disconnection: Disconnection | None = self._scope.get(DISCONNECTION)
        if disconnection is not None and self._has_body:
            return cancel_when_told(disconnection)
        return cancel_on_disconnect(self._disconnected)  # which reads the rest of the body, too

    async def settle(self, work: Awaitable[None]) -> tuple[int, str | None]:
        """Await ``work``, which answers, and send its error; return the status and the code of the error."""
        try:
            await work
        except ModelhostError as error:
            await self.fail(error)
            return self._form.error_answer(error)[0], error.code
        except ClientDisconnected:
            # Many clients close the connection at the last event, before the end of the response.
            is_complete = self._byte_type is None and self._end == self._form.end
            return 200 if is_complete or self._has_ended else CLIENT_DISCONNECTED_STATUS, None
        except asyncio.CancelledError:
            # The server cancels what is left after its shutdown timeout, and waits for this.
            stopped = ShuttingDown("The host was stopped before the answer was complete.")
            await self.fail(stopped)
            return self._form.error_answer(stopped)[0], stopped.code
        except Exception:
            log.exception("request_failed", path=self._scope["path"])
            fault = HostFault()
            await self.fail(fault)
            return self._form.error_answer(fault)[0], fault.code
        return 200, None

    async def answer(self, status: int, body: bytes, headers: Headers) -> None:
        """Send a complete answer."""
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers + self.headers})
        await self._send({"type": "http.response.body", "body": body})

    async def answer_json(self, payload: Any) -> None:
        """Send ``payload`` with status 200."""
        body = json_text.encode(payload)
        length = str(len(body)).encode()
        await self.answer(200, body, [(b"content-type", b"application/json"), (b"content-length", length)])

    def event_stream(self) -> AbstractAsyncContextManager[None]:
        """Send the answer as a stream of events with :meth:`write`, and keep-alive comments in between.

        The status is sent with the first block or comment: an error before that is an ordinary one.
        """
        return _EventStream(self)

    def begin_keeping_alive(self) -> None:
        """Send a comment whenever nothing has been sent for a while."""
        self._sent_at = self._now()
        self._timer = self._loop.call_later(self._keep_alive_seconds, self._tick)

    async def end_keeping_alive(self) -> None:
        """Send no more of them."""
        if self._timer is not None:
            self._timer.cancel()
        if self._keep_alive_task is not None:
            self._keep_alive_task.cancel()
            await asyncio.wait([self._keep_alive_task])

    async def end_stream(self) -> None:
        """Send the end of the answer, after its head if nothing has been written."""
        await self._begin_stream()
        await self._send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def byte_stream(self, content_type: bytes) -> AsyncIterator[None]:
        """Send the answer as bytes with :meth:`write`.

        Nothing among them can name an error: one after the first bytes breaks the connection.
        """
        self._byte_type = content_type
        yield
        await self._begin_stream()
        self._has_ended = True
        await self._send({"type": "http.response.body", "body": b""})

    async def write(self, block: bytes) -> None:
        """Send complete events, or bytes."""
        if not self.has_begun:
            await self._begin_stream()
        await self._send(self._part(block))
        self._end = block[-self._end_bytes :]

    async def write_all(self, blocks: AsyncIterator[bytes]) -> None:
        """Send each of ``blocks`` like :meth:`write`, whose coroutine costs nearly as much as a token does."""
        async for block in blocks:
            if not self.has_begun:
                await self._begin_stream()
            await self._send(self._part(block))
            self._end = block[-self._end_bytes :]

    def _part(self, block: bytes) -> Message:
        """Return what sends ``block``, which is being sent from now on."""
        self._sent_at = self._now()
        return {"type": "http.response.body", "body": block, "more_body": True}

    async def fail(self, error: ModelhostError) -> None:
        """Send ``error`` as an answer, or as the last event of a stream that has begun."""
        if not self.has_begun:
            await self.answer(*_in_order(self._form.error_answer(error)))
            return
        if self._byte_type is not None:
            log.warning("answer_broken_off", path=self._scope["path"], code=error.code, error=error.message)
            return  # the server closes a connection whose answer has no end
        await self._send({"type": "http.response.body", "body": self.error_block(error), "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _begin_stream(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            headers = [
                (b"content-type", self._byte_type or self._form.content_type),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers + self.headers})
            self._send = after_head(self._send)

    def _tick(self) -> None:
        silent_seconds = self._now() - self._sent_at
        rest = self._keep_alive_seconds - silent_seconds
        if rest <= 0:
            rest = self._keep_alive_seconds
            if self._keep_alive_task is None or self._keep_alive_task.done():  # otherwise the client does not read
                self._keep_alive_task = self._loop.create_task(self.write(self._form.keep_alive))
        self._timer = self._loop.call_later(rest, self._tick)


def _about_form(content_type: str) -> str:
    """Return which forms are read; empty if the head names none."""
    if not content_type.lower().startswith(FORMS):
        return ""
    return " Its content type is that of a form: forms are read as multipart/form-data, where they bring files."


class _EventStream:
    """What :meth:`Exchange.event_stream` returns; a class, since what contextlib makes costs each request more."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __aenter__(self) -> None:
        self._exchange.begin_keeping_alive()

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        await self._exchange.end_keeping_alive()
        if error is None:
            await self._exchange.end_stream()


def _check_size(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise RequestTooLarge(
            f"The body is larger than the {limit_bytes} bytes allowed (--max-body-mb).", limit_bytes=limit_bytes
        )


def _in_order(answer: Answer) -> tuple[int, bytes, Headers]:
    status, headers, body = answer
    return status, body, headers
