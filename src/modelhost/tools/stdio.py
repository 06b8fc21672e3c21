"""An MCP server as a child process: its pipes as the SDK's streams, its log, and its end.

The SDK has such a transport too. This one also keeps standard error, knows the process, reports when a message has been
handed over and when the process is gone, leaves no child of it behind, and skips two tasks and queues per message.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
import mcp_types as types
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.client.stdio import DEFAULT_INHERITED_ENV_VARS
from mcp.shared.message import SessionMessage

from modelhost.config import environment
from modelhost.logs import get_logger
from modelhost.tools.callbacks import CURRENT_ATTEMPT
from modelhost.tools.entry import StdioTransport
from modelhost.tools.repair import message_of, unreadable
from modelhost.workers.child import Child
from modelhost.workers.process_groups import end_group

MAX_LINES: Final = 200
MAX_LENGTH: Final = 2000  # of one line; the rest is dropped


class LineBuffer:
    """Keeps the last lines of a byte stream, in bounded memory."""

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        """``on_line`` is called for every line that is kept."""
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Add what was read; of a large chunk only the last lines."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines[-MAX_LINES:]:
            self.add(line.decode(errors="replace").rstrip("\r"))
        self._rest = rest[:MAX_LENGTH]

    def end(self) -> None:
        """Add an unfinished last line."""
        if self._rest:
            self.add(self._rest.decode(errors="replace"))
            self._rest = b""

    def add(self, line: str) -> None:
        self._lines.append(line[:MAX_LENGTH])
        if self._on_line is not None:
            self._on_line(line[:MAX_LENGTH])

    def tail(self, count: int = MAX_LINES) -> list[str]:
        """Return the last ``count`` lines; the last may be unfinished."""
        lines = [*self._lines, *([self._rest.decode(errors="replace")] if self._rest else [])]
        return lines[-count:]


log = get_logger(__name__)

MESSAGE_BYTES: Final = 32 * 2**20  # in one line; results of some megabytes do occur
READ_BYTES: Final = 65536
EXIT_SECONDS: Final = 1.0  # after the end of its input, which is how MCP requests a server to exit
TERM_SECONDS: Final = 1.0  # after SIGTERM
REST_SECONDS: Final = 0.2  # for the rest of its process group
KILL_SECONDS: Final = 2.0  # after SIGKILL
POLL_SECONDS: Final = 0.01

OnConnectionLost = Callable[[str], None]
"""Called once with the reason why the connection ended, as part of a sentence."""
Repair = Callable[[types.JSONRPCMessage], None]
"""Changes a message that the SDK would refuse, see :mod:`modelhost.tools.repair`."""
LISTEN: Final = "subscriptions/listen"
"""The one request that is not answered while the connection lasts."""


class ServerProcess:
    """A server's process with its streams :attr:`incoming` and :attr:`outgoing`."""

    def __init__(self, child: Child, stderr: LineBuffer, on_lost: OnConnectionLost, repair: Repair) -> None:
        self._child = child
        self._on_lost = on_lost
        self.pid = child.pid
        waiting: set[types.RequestId] = set()
        self.incoming = Incoming(child.stdout, stderr, self._lose, repair, waiting)
        self.outgoing = Outgoing(child, waiting)
        self._lines = stderr
        self._drain = asyncio.create_task(self._keep_stderr())

    def describe_end(self) -> str:
        status = self._child.returncode
        if status is None:
            return "closed its output"
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"

    async def _lose(self, reason: str | None) -> None:
        """Report the end, with ``reason`` or else with how the process ended, known a moment after its output."""
        if reason is None:
            await self._exit_within(REST_SECONDS)
            with suppress(TimeoutError):  # its last lines are the best explanation
                async with asyncio.timeout(REST_SECONDS):
                    await asyncio.shield(self._drain)
        self._on_lost(reason or self.describe_end())

    async def _keep_stderr(self) -> None:
        while chunk := await self._child.stderr.read(READ_BYTES):
            self._lines.feed(chunk)
        self._lines.end()

    async def end(self) -> None:
        """End the process group: close its input, then SIGTERM, then SIGKILL."""
        try:
            self._child.close_input()
            if not await self._exit_within(EXIT_SECONDS):
                self._signal_group(signal.SIGTERM)
                await self._exit_within(TERM_SECONDS)
            else:
                await self._end_the_rest()
        finally:
            # Also if this task is cancelled meanwhile: no child may be left.
            self._signal_group(signal.SIGKILL)
            self._drain.cancel()
        has_exited = await self._exit_within(KILL_SECONDS)
        if not has_exited or await end_group(self.pid, seconds=KILL_SECONDS):
            log.warning("mcp_server_left_process", pid=self.pid)
        self._child.close()

    async def _end_the_rest(self) -> None:
        """Give children that outlived the server a moment to end."""
        self._signal_group(signal.SIGTERM)
        end = asyncio.get_running_loop().time() + REST_SECONDS
        while self._signal_group(0) and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110  (there is no event)
            await asyncio.sleep(POLL_SECONDS)

    async def _exit_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._child.exited.wait()
        return self._child.returncode is not None

    def _signal_group(self, number: int) -> bool:
        """Signal the process group; return whether it exists. Its id is the pid, also when the leader has ended."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # macOS, for a group of zombies only
        return True


class Incoming(ObjectReceiveStream[SessionMessage | Exception]):
    """Messages from a server, as the SDK's read stream: one per line."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        lines: LineBuffer,
        lose: Callable[[str | None], Awaitable[None]],
        repair: Repair,
        waiting: set[types.RequestId],
    ) -> None:
        """``waiting`` are the ids of unanswered requests."""
        self._reader = reader
        self._lines = lines
        self._lose = lose
        self._repair = repair
        self._waiting = waiting
        self._read: deque[types.JSONRPCMessage] = deque()
        self._is_closed = False

    async def receive(self) -> SessionMessage | Exception:
        while not self._is_closed:
            if self._read:
                return self._received(self._read.popleft())
            try:
                line = await self._reader.readline()
            except ValueError:
                await self._lose(f"sent a message of more than {MESSAGE_BYTES >> 20} MiB")
                break
            if not line:
                await self._lose(None)
                break
            try:
                self._read.append(message_of(line))
            except ValueError:
                if line.strip():  # a server that prints to its output; it may still work
                    self._lines.add(line[:READ_BYTES].decode(errors="replace").rstrip())
                if line.endswith(b"\n"):  # an unfinished line of a dying server is no answer
                    self._read.extend(unreadable(line, self._waiting))
        raise anyio.EndOfStream

    def _received(self, message: types.JSONRPCMessage) -> SessionMessage:
        if isinstance(message, types.JSONRPCError) and message.id is None and len(self._waiting) == 1:
            (message.id,) = self._waiting  # the server could not read the request, nor its id
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and message.id is not None:
            # The SDK accepts an id that comes back as text.
            self._waiting -= {message.id, *(each for each in self._waiting if str(each) == message.id)}
        self._repair(message)
        return SessionMessage(message)

    async def aclose(self) -> None:
        self._is_closed = True


class Outgoing(ObjectSendStream[SessionMessage]):
    """Messages to a server, as the SDK's write stream."""

    def __init__(self, child: Child, waiting: set[types.RequestId]) -> None:
        self._child = child
        self._waiting = waiting
        self._is_closed = False

    async def send(self, item: SessionMessage) -> None:
        self._note(item.message)
        message = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        if self._is_closed or not self._child.send(message):
            raise anyio.BrokenResourceError
        if (attempt := CURRENT_ATTEMPT.get()) is not None:
            attempt.was_sent = True
        try:
            await self._child.sent()
        except BrokenPipeError as error:
            raise anyio.BrokenResourceError from error

    def _note(self, message: types.JSONRPCMessage) -> None:
        if isinstance(message, types.JSONRPCRequest) and message.method != LISTEN:
            self._waiting.add(message.id)
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self._waiting.discard((message.params or {}).get("requestId", ""))

    async def aclose(self) -> None:
        self._is_closed = True  # not the pipe: the SDK closes this while its last messages are being sent


@asynccontextmanager
async def started(
    process: StdioTransport, stderr: LineBuffer, on_lost: OnConnectionLost, repair: Repair
) -> AsyncGenerator[ServerProcess, None]:
    """Run a server; its whole process group ends with the context.

    Raises:
        OSError: the command or its working directory is missing or cannot be used.
    """
    inherited = environment.current()
    child = Child(
        (process.command, *process.args),
        {**{name: inherited[name] for name in DEFAULT_INHERITED_ENV_VARS if name in inherited}, **process.env},
        cwd=None if process.cwd is None else str(process.cwd),
        line_bytes=MESSAGE_BYTES,
    )
    server = ServerProcess(child, stderr, on_lost, repair)
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await server.end()
