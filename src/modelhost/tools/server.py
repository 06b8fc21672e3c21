"""One MCP server and its owner: the one task that connects, monitors and restarts it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from statistics import median
from typing import Final, Literal

import anyio
import mcp_types as types

from modelhost.errors import ToolServerUnavailable
from modelhost.logs import get_logger
from modelhost.tools import failures
from modelhost.tools.callbacks import CallAttempt, InFlightCalls, Sampler
from modelhost.tools.client_features import ClientFeatures
from modelhost.tools.connection import Connection, connected
from modelhost.tools.entry import HttpTransport, ServerEntry, StdioTransport
from modelhost.tools.server_tool import ServerTool, server_tools
from modelhost.tools.status import ServerReport, ServerState, ToolProblemReport
from modelhost.tools.stdio import LineBuffer

log = get_logger(__name__)

IDLE_CHECK_SECONDS: Final = 30.0  # between two health checks of an idle server
END_SECONDS: Final = 10.0  # for a graceful end of a connection
LATENCIES: Final = 100
STDERR_LINES: Final = 20  # in a status
STOPPED_BY_US: Final = "was stopped"  # by us
WAITING: Final = (ServerState.CONNECTING, ServerState.RESTARTING)

OnChange = Callable[["ToolServer", Literal["state", "tools"]], None]


class ToolServer:
    """A server, ready or not. Only its owner changes its state and its connection."""

    def __init__(self, entry: ServerEntry, sampler: Sampler | None, on_change: OnChange) -> None:
        self.entry = entry
        self.attempts = InFlightCalls()
        self.tools: tuple[ServerTool, ...] = ()
        """The allowed tools; the last known ones while it is not ready."""
        self.has_listed = False
        self.state = ServerState.DISABLED
        self.last_error: str | None = None
        self.startup_wait: failures.StartupWait | None = None
        """Of requests for the first connection since the latest start."""
        self._reported: tuple[ServerState, str | None] = (self.state, None)
        self._sampler = sampler
        self._on_change = on_change
        self._all_tools: tuple[ServerTool, ...] = ()
        self._problems: tuple[ToolProblemReport, ...] = ()
        self._places = asyncio.Semaphore(entry.max_concurrent_calls)
        self._stderr = LineBuffer(lambda line: log.debug("mcp_server_log", server=entry.name, line=line))
        self._connection: Connection | None = None
        self._owner: asyncio.Task[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._wakeup = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._is_stopping = False
        self._wants_restart = False
        self._connections = 0
        self._connect_seconds: float | None = None
        self._ready_at: float | None = None
        self._ready_since: float | None = None
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._calls = 0
        self._failed_calls = 0

    @property
    def name(self) -> str:
        return self.entry.name

    # For the hub.

    def start(self) -> None:
        """Have the owner connect it; does not wait for that.

        Raises:
            ToolServerUnavailable: it cannot be used as configured.
        """
        if self.entry.why_disabled is not None:
            raise ToolServerUnavailable(self.entry.why_disabled, server=self.name)
        if self._owner is not None:
            return
        self._is_stopping = self._wants_restart = False
        self.startup_wait = failures.StartupWait(self.entry.connect_timeout_seconds)
        self._set_state(ServerState.CONNECTING)
        # In a context of its own: the server outlives the request that starts it.
        self._owner = asyncio.create_task(self._run_owner(), name=f"mcp server {self.name}", context=Context())

    async def stop(self, state: ServerState = ServerState.STOPPED) -> None:
        """End the connection and its process; return when they are gone."""
        owner, self._owner = self._owner, None
        if owner is not None:
            self._is_stopping = True
            self._disconnect()
            _, late = await asyncio.wait({owner}, timeout=END_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(owner, return_exceptions=True)
        self._set_state(state)

    def restart(self) -> None:
        """Reconnect at once, also a failed server; raises ToolServerUnavailable if it cannot be used as configured."""
        if self._owner is None:
            self.start()
            return
        self._wants_restart = True
        self._set_state(ServerState.RESTARTING)
        self._disconnect()

    def _disconnect(self) -> None:
        """Have the owner end the connection, or the attempt to make one; no call gets it from now on."""
        if self._connection is not None:
            self._connection.lose(STOPPED_BY_US)
        elif self._scope is not None:
            self._scope.cancel()
        self._wakeup.set()

    def change(self, entry: ServerEntry) -> None:
        """Apply an entry that needs no new connection."""
        if entry.max_concurrent_calls != self.entry.max_concurrent_calls:
            self._places = asyncio.Semaphore(entry.max_concurrent_calls)
        self.entry = entry
        self._offer()

    # For calls.

    @asynccontextmanager
    async def place(self, attempt: CallAttempt) -> AsyncIterator[None]:
        """Wait for a place among the concurrent calls of the server, and hold it."""
        async with self._places:
            with self.attempts.running(attempt):
                yield

    async def connection(self, *, after: Connection | None = None) -> Connection:
        """Return the connection, waiting while the server is being connected. ``after`` is one that was lost.

        Raises:
            ToolServerUnavailable: the server failed, or is disabled or stopped.
        """
        if after is not None:
            after.lose("lost the connection")
        while True:
            connection = self._connection
            if connection is not None and connection is not after and connection.lost_reason is None:
                return connection
            if connection is None and self.state not in WAITING:
                raise ToolServerUnavailable(self._unavailable(), server=self.name)
            await self.changed()

    async def check_health(self) -> None:
        """Check that the server answers.

        Raises:
            ToolServerUnavailable: it does not; it is then restarted.
        """
        connection = await self.connection()
        try:
            await connection.check_health()
        except failures.ConnectionLostError as error:
            connection.lose(str(error))
            raise ToolServerUnavailable(f'the MCP server "{self.name}" {error}', server=self.name) from error

    def record_call(self, seconds: float, *, is_error: bool) -> None:
        self._calls += 1
        self._failed_calls += is_error
        self._latencies.append(seconds)

    @property
    def is_absent(self) -> bool:
        """Whether it should be ready and has no tools to offer; one that is being restarted keeps its tools."""
        if self.state is ServerState.RESTARTING:
            return not self.has_listed
        return self.state in (ServerState.CONNECTING, ServerState.FAILED)

    def seconds_to_wait(self) -> float:
        """Return for how long a request waits for the server from now on; 0 if it should not."""
        if self.state is not ServerState.CONNECTING or self.startup_wait is None:
            return 0.0
        return self.startup_wait.seconds_left()

    async def first_connection(self) -> None:
        """Wait until the first attempt to connect is over, but no longer than requests should."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds_to_wait()):
                while self.state is ServerState.CONNECTING:
                    await self.changed()

    async def changed(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        await future

    def _unavailable(self) -> str:
        why = f": it {self.last_error}" if self.last_error and self.state is ServerState.FAILED else ""
        return f'the MCP server "{self.name}" is {self.state}{why}'

    def status(self) -> ServerReport:
        connection = self._connection
        info = connection.client.server_info if connection is not None else None
        transport = self.entry.transport
        theirs = connection.client.instructions if connection is not None else None
        return ServerReport(
            name=self.name,
            state=self.state,
            transport=_kind(transport),
            tools=len(self.tools),
            tool_problems=[each for each in self._problems if self.entry.allows(each.tool)],
            protocol_version=connection.client.protocol_version if connection is not None else None,
            server_name=info.name if info is not None else None,
            server_version=info.version if info is not None else None,
            instructions=self.entry.instructions or theirs,
            restarts=max(self._connections - 1, 0),
            last_error=self.last_error,
            why_disabled=self.entry.why_disabled,
            pid=connection.pid if connection is not None else None,
            in_flight=len(self.attempts),
            calls=self._calls,
            failed_calls=self._failed_calls,
            latency_p50_seconds=median(self._latencies) if self._latencies else None,
            latency_last_seconds=self._latencies[-1] if self._latencies else None,
            connect_seconds=self._connect_seconds,
            ready_since=self._ready_since,
            stderr=self._stderr.tail(STDERR_LINES),
        )

    # The owner.

    async def _run_owner(self) -> None:
        in_a_row = 0
        while not self._is_stopping:
            if self._wants_restart:
                in_a_row = 0
            self._wants_restart = False
            self._wakeup.clear()
            error = await self._connect_and_serve()
            if self._is_stopping or self._wants_restart or error is None:
                continue
            retry = failures.after_failure(
                in_a_row,
                time.monotonic() - self._ready_at if self._ready_at is not None else 0.0,
                is_remote=isinstance(self.entry.transport, HttpTransport),
                is_hopeless=failures.is_hopeless(error),
            )
            in_a_row = retry.failures
            self._set_state(ServerState.FAILED if retry.has_failed else ServerState.RESTARTING)
            log.warning(
                "mcp_server_lost",
                server=self.name,
                reason=failures.loggable_reason(error),
                state=str(self.state),
                again_after_seconds=retry.after_seconds,
            )
            await self._pause(retry.after_seconds)

    async def _pause(self, seconds: float | None) -> None:
        """Wait ``seconds``, or until the server is to be stopped or restarted."""
        if self._is_stopping or self._wants_restart:
            return
        self._wakeup.clear()  # set by the connection that has ended
        try:
            async with asyncio.timeout(seconds):
                await self._wakeup.wait()
        except TimeoutError:
            return

    async def _connect_and_serve(self) -> Exception | None:
        """Connect and stay connected; return why the connection ended, ``None`` if that was intended."""
        self._ready_at = None
        began = time.monotonic()
        connection = Connection(self.entry, self._wakeup.set)
        error: Exception | None = None
        scope = anyio.CancelScope(deadline=anyio.current_time() + self.entry.connect_timeout_seconds)
        self._scope = scope
        try:
            with scope:
                features = ClientFeatures(self.entry, self.attempts, self._sampler)
                async with connected(connection, self.entry, features, self._stderr):
                    tools = await connection.tools()
                    scope.deadline = math.inf
                    self._connect_seconds = time.monotonic() - began
                    self._become_ready(connection, tools)
                    try:
                        await self._serve(connection)
                    finally:
                        self._withdraw(connection)
                        scope.deadline = anyio.current_time() + END_SECONDS
        except Exception as caught:  # noqa: BLE001  (a server, and the SDK for it, may raise anything: it ends this connection)
            error = caught
        finally:
            self._scope = None
        was_left = self._is_stopping or self._wants_restart
        if error is None and scope.cancelled_caught and self._ready_at is None and not was_left:
            error = failures.connect_timeout(self.entry)
        if error is not None and not self._is_stopping:
            error = _cause(error, connection)
            self.last_error = self._explain(error)
        return error

    def _become_ready(self, connection: Connection, tools: tuple[types.Tool, ...]) -> None:
        self._connection = connection
        self._connections += 1
        self._ready_at, self._ready_since = time.monotonic(), time.time()
        self._update_tools(tools, connection.malformed)
        self._set_state(ServerState.READY)
        log.info(
            "mcp_server_ready",
            server=self.name,
            protocol=connection.client.protocol_version,
            tools=len(self.tools),
            seconds=round(self._connect_seconds or 0.0, 3),
        )

    async def _serve(self, connection: Connection) -> None:
        """Serve until the server is to be stopped or restarted.

        Raises:
            ConnectionLostError: the connection was lost.
        """
        while True:
            try:
                async with asyncio.timeout(IDLE_CHECK_SECONDS):
                    await self._wakeup.wait()
            except TimeoutError:
                # A busy server may be unable to answer; its calls have timeouts of their own.
                if not self.attempts:
                    await connection.check_health()
                continue
            self._wakeup.clear()
            if self._is_stopping or self._wants_restart:
                return
            if connection.lost_reason is not None:
                raise failures.ConnectionLostError(connection.lost_reason)
            if connection.has_new_tools:
                tools = await connection.tools()
                self._update_tools(tools, connection.malformed)

    def _withdraw(self, connection: Connection) -> None:
        """Withdraw the connection: no call gets it from now on."""
        connection.lose(STOPPED_BY_US)
        self._connection = None
        self._ready_since = None
        if not self._is_stopping:
            self._set_state(ServerState.RESTARTING)

    def _explain(self, cause: Exception) -> str:
        """Return what happened, with the last line that a process wrote: it is often the best explanation."""
        last = next((line for line in reversed(self._stderr.tail()) if line.strip()), None)
        if last is None or not isinstance(self.entry.transport, StdioTransport) or failures.is_hopeless(cause):
            return failures.reason_of(cause)
        return f"{failures.reason_of(cause)}; the last line of its log: {last.strip()[:300]}"

    # Tools and state.

    def _update_tools(self, tools: tuple[types.Tool, ...], malformed: tuple[ToolProblemReport, ...]) -> None:
        self._all_tools, problems = server_tools(self.name, {tool.name: tool for tool in tools}.values())
        self._note_problems((*malformed, *problems))
        self.has_listed = True
        self._offer()

    def _note_problems(self, problems: tuple[ToolProblemReport, ...]) -> None:
        for each in problems:
            if each not in self._problems:
                log.warning(
                    "mcp_tool_problem",
                    server=self.name,
                    tool=each.tool,
                    location=each.location,
                    reason=each.message,
                    is_offered=each.is_offered,
                )
        self._problems = problems

    def _offer(self) -> None:
        self.tools = tuple(tool for tool in self._all_tools if self.entry.allows(tool.tool))
        self._on_change(self, "tools")

    def _set_state(self, state: ServerState) -> None:
        self.state = state
        # Why it was lost may be known a moment later than that it was: that is reported too.
        if (state, self.last_error) != self._reported:
            self._reported = (state, self.last_error)
            self._on_change(self, "state")
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)


def _cause(error: Exception, connection: Connection) -> Exception:
    """Return the cause of ``error``: the SDK says only that the connection was closed or refused."""
    if failures.is_hopeless(error):
        return error
    if connection.lost_reason not in (None, STOPPED_BY_US):
        return failures.ConnectionLostError(connection.lost_reason)
    return failures.ConnectionLostError(connection.last_refusal) if connection.last_refusal else error


def _kind(transport: StdioTransport | HttpTransport | None) -> Literal["stdio", "http", "sse"] | None:
    if transport is None:
        return None
    return "stdio" if isinstance(transport, StdioTransport) else transport.kind
