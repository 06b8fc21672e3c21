"""An MCP server over standard input and output, also for clients that deviate from the protocol.

:mod:`modelhost.mcp_servers.lenient` says what is forgiven. Besides, calls at work are finished when the input ends, and
everything ends when the output has no reader.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import anyio
import mcp_types as types
import orjson
from anyio.abc import AsyncResource, ObjectReceiveStream, ObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from modelhost.mcp_servers.lenient import Json, LenientSession, ParsedLine
from modelhost.mcp_servers.standard_streams import LineStreams, LineTooLong
from modelhost.mcp_servers.stdio_log import StdioLog

MESSAGE_BYTES: Final = 32 * 2**20
"""The longest line; conversations may contain whole files."""
FLUSH_SECONDS: Final = 1.0  # for slow clients to read the last answers of a server that is stopping


async def serve(server: Server[Any], wire: LineStreams, log: StdioLog) -> None:
    """Serve on ``wire`` until the input ends and all requests are answered, or the output has no reader any more."""
    client = _Client(wire, log)
    serving = asyncio.create_task(
        server.run(Incoming(client), Outgoing(client), server.create_initialization_options()),
        name="serving MCP over stdio",
    )
    try:
        await asyncio.wait((serving, wire.closed), return_when=asyncio.FIRST_COMPLETED)
        log.stopping("the output has no reader" if wire.closed.done() else "the input has ended")
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        with suppress(BrokenPipeError, TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await wire.drain()


class _Client:
    def __init__(self, wire: LineStreams, log: StdioLog) -> None:
        self._wire = wire
        self._log = log
        self._conversation = LenientSession()
        self._messages: list[Json] = []
        self._answered = asyncio.Event()

    async def next_message(self) -> Json | None:
        """Return the next message for the server; ``None`` at the end of the input, once all requests are answered."""
        while not self._messages:
            taken = await self._taken()
            if taken is None:
                while not self._conversation.is_idle:
                    self._answered.clear()
                    await self._answered.wait()
                return None
            if taken.answer is not None:
                await self._write(taken.answer)
            self._messages += taken.messages
        return self._messages.pop(0)

    async def _taken(self) -> ParsedLine | None:
        try:
            line = await self._wire.read_line()
        except LineTooLong:
            self._log.received(None, MESSAGE_BYTES)
            return self._conversation.refuse_long_line(MESSAGE_BYTES)
        if line is None:
            return None
        taken = self._conversation.receive(line)
        self._log.received(taken.sent, len(line))
        return taken

    async def send(self, message: Json) -> None:
        """Send a message of the server, unless the client must not get it; raises BrokenPipeError."""
        given = self._conversation.outgoing(message)
        try:
            if given is not None:
                await self._write(given)
        finally:
            self._answered.set()

    async def refuse(self, message: Json) -> None:
        """Answer an input that the SDK does not accept as a message."""
        error = {"code": types.INVALID_REQUEST, "message": "Invalid Request"}
        await self.send({"jsonrpc": "2.0", "id": message.get("id"), "error": error})

    async def _write(self, message: Json) -> None:
        line = orjson.dumps(message)
        self._log.sent(message, len(line))
        await self._wire.write(line + b"\n")


class _Stream(AsyncResource):
    """What the SDK requires of both streams besides messages."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._is_closed = False

    async def aclose(self) -> None:
        self._is_closed = True


class Incoming(_Stream, ObjectReceiveStream[SessionMessage | Exception]):
    """The SDK's read stream: messages of the client."""

    async def receive(self) -> SessionMessage | Exception:
        while not self._is_closed:
            try:
                message = await self._client.next_message()
                if message is None:
                    break
                return SessionMessage(types.jsonrpc_message_adapter.validate_python(message, by_name=False))
            except ValidationError:
                assert message is not None
                await self._client.refuse(message)
            except BrokenPipeError:
                break
        raise anyio.EndOfStream


class Outgoing(_Stream, ObjectSendStream[SessionMessage]):
    """The SDK's write stream: messages to the client."""

    async def send(self, item: SessionMessage) -> None:
        if self._is_closed:
            raise anyio.ClosedResourceError
        try:
            await self._client.send(item.message.model_dump(mode="json", by_alias=True, exclude_unset=True))
        except BrokenPipeError:
            raise anyio.BrokenResourceError from None
