"""One MCP server and its owner: the one task that connects it, keeps it and starts it again."""

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

from modelhost.config.network import through
from modelhost.errors import ToolServerUnavailable
from modelhost.logs import get_logger
from modelhost.tools.attempts import CallAttempt, InFlightCalls
from modelhost.tools.callbacks import Sampler
from modelhost.tools.client_features import ClientFeatures
from modelhost.tools.connection import Connection, connected
from modelhost.tools.entry import Process, Remote, ServerEntry
from modelhost.tools.reasons import ConnectionLostError, ConnectTimeoutError, is_hopeless, loggable_reason, reason_of
from modelhost.tools.restarts import StartupWait, after_failure
from modelhost.tools.server_tool import ServerTool, server_tools
from modelhost.tools.status import ServerState, ServerStatus, ToolProblem
from modelhost.tools.stdio import LineBuffer

log = get_logger(__name__)

IDLE_CHECK_SECONDS: Final = 30.0  # between two health checks of a server that has nothing to do
END_SECONDS: Final = 10.0  # for a connection to end in good order
LATENCIES: Final = 100
STDERR_LINES: Final = 20  # in a status
LEFT: Final = "was stopped"  # by us
WAITING: Final = (ServerState.CONNECTING, ServerState.RESTARTING)

OnChange = Callable[["ToolServer", Literal["state", "tools"]], None]


class ToolServer:
    """A server, ready or not. Its owner is the only one that changes its state and its connection."""

    def __init__(self, entry: ServerEntry, sampler: Sampler | None, on_change: OnChange) -> None:
        self.entry = entry
        self.attempts = InFlightCalls()
        self.tools: tuple[ServerTool, ...] = ()
        """Those that are allowed; the last ones known if it is not ready now."""
        self.has_listed = False
        self.state = ServerState.DISABLED
        self.last_error: str | None = None
        self.startup_wait: StartupWait | None = None
        """Of requests with the first connection since the latest start."""
        self._reported: tuple[ServerState, str | None] = (self.state, None)
        self._sampler = sampler
        self._on_change = on_change
        self._all_tools: tuple[ServerTool, ...] = ()
        self._problems: tuple[ToolProblem, ...] = ()
        self._places = asyncio.Semaphore(entry.max_concurrent_calls)
        self._stderr = LineBuffer(lambda line: log.debug("mcp_server_log", server=entry.name, line=line))
        self._connection: Connection | None = None
        self._owner: asyncio.Task[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._news = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._is_leaving = False
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

    # What the hub tells it.

    def start(self) -> None:
        """Have the owner connect it, and do not wait for that.

        Raises:
            ToolServerUnavailable: it cannot be used as it is configured.
        """
        if self.entry.why_disabled is not None:
            raise ToolServerUnavailable(self.entry.why_disabled, server=self.name)
        if self._owner is not None:
            return
        self._is_leaving = self._wants_restart = False
        self.startup_wait = StartupWait(self.entry.connect_timeout_seconds)
        self._set_state(ServerState.CONNECTING)
        # A context of its own: the server outlives the request that has it started.
        self._owner = asyncio.create_task(self._own(), name=f"mcp server {self.name}", context=Context())

    async def stop(self, state: ServerState = ServerState.STOPPED) -> None:
        """End the connection and its process; return when they are gone."""
        owner, self._owner = self._owner, None
        if owner is not None:
            self._is_leaving = True
            self._leave()
            _, late = await asyncio.wait({owner}, timeout=END_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(owner, return_exceptions=True)
        self._set_state(state)

    def restart(self) -> None:
        """Connect anew, at once; a failed server gets another chance.

        Raises:
            ToolServerUnavailable: it cannot be used as it is configured.
        """
        if self._owner is None:
            self.start()
            return
        self._wants_restart = True
        self._set_state(ServerState.RESTARTING)
        self._leave()

    def _leave(self) -> None:
        """Have the owner leave the connection, or the attempt to make one; no call gets it from now on."""
        if self._connection is not None:
            self._connection.lose(LEFT)
        elif self._scope is not None:
            self._scope.cancel()
        self._news.set()

    def change(self, entry: ServerEntry) -> None:
        """Take on an entry that needs no new connection."""
        if entry.max_concurrent_calls != self.entry.max_concurrent_calls:
            self._places = asyncio.Semaphore(entry.max_concurrent_calls)
        self.entry = entry
        self._offer()

    # What a call needs.

    @asynccontextmanager
    async def place(self, attempt: CallAttempt) -> AsyncIterator[None]:
        """A place among the calls that the server works on at the same time, waiting for one if need be."""
        async with self._places:
            with self.attempts.running(attempt):
                yield

    async def connection(self, *, after: Connection | None = None) -> Connection:
        """The connection, waiting for it while the server is being connected. ``after``: one that is of no use.

        Raises:
            ToolServerUnavailable: it failed, or is disabled or stopped.
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
        """Ask for a sign of life.

        Raises:
            ToolServerUnavailable: there is none; the server is then started again.
        """
        connection = await self.connection()
        try:
            await connection.check_health()
        except ConnectionLostError as error:
            connection.lose(str(error))
            raise ToolServerUnavailable(f'the MCP server "{self.name}" {error}', server=self.name) from error

    def note_call(self, seconds: float, *, is_error: bool) -> None:
        """Count a call that was answered."""
        self._calls += 1
        self._failed_calls += is_error
        self._latencies.append(seconds)

    @property
    def is_absent(self) -> bool:
        """Whether it should be there and has no tools to offer now; one that is started again keeps those it had."""
        if self.state is ServerState.RESTARTING:
            return not self.has_listed
        return self.state in (ServerState.CONNECTING, ServerState.FAILED)

    def seconds_to_wait(self) -> float:
        """For how long a request that is here now waits for the server; 0 if it is not to."""
        if self.state is not ServerState.CONNECTING or self.startup_wait is None:
            return 0.0
        return self.startup_wait.seconds_left()

    async def first_connection(self) -> None:
        """Wait until the first attempt to connect is over, for as long as requests do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds_to_wait()):
                while self.state is ServerState.CONNECTING:
                    await self.changed()

    async def changed(self) -> None:
        """Wait until the state changes."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        await future

    def _unavailable(self) -> str:
        why = f": it {self.last_error}" if self.last_error and self.state is ServerState.FAILED else ""
        return f'the MCP server "{self.name}" is {self.state}{why}'

    def status(self) -> ServerStatus:
        """What can be said of it now."""
        connection = self._connection
        info = connection.client.server_info if connection is not None else None
        transport = self.entry.transport
        theirs = connection.client.instructions if connection is not None else None
        return ServerStatus(
            name=self.name,
            state=self.state,
            transport=_kind(transport),
            tools=len(self.tools),
            tool_problems=tuple(each for each in self._problems if self.entry.allows(each.tool)),
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
            stderr=tuple(self._stderr.tail(STDERR_LINES)),
        )

    # The owner.

    async def _own(self) -> None:
        failures = 0
        while not self._is_leaving:
            if self._wants_restart:
                failures = 0
            self._wants_restart = False
            self._news.clear()
            error = await self._live()
            if self._is_leaving or self._wants_restart or error is None:
                continue
            retry = after_failure(
                failures,
                time.monotonic() - self._ready_at if self._ready_at is not None else 0.0,
                is_remote=isinstance(self.entry.transport, Remote),
                is_hopeless=is_hopeless(error),
            )
            failures = retry.failures
            self._set_state(ServerState.FAILED if retry.has_failed else ServerState.RESTARTING)
            log.warning(
                "mcp_server_lost",
                server=self.name,
                reason=loggable_reason(error),
                state=str(self.state),
                again_after_seconds=retry.after_seconds,
            )
            await self._rest(retry.after_seconds)

    async def _rest(self, seconds: float | None) -> None:
        """Wait as long, or until someone wants something else."""
        if self._is_leaving or self._wants_restart:
            return
        self._news.clear()  # the connection that is over has set it
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def _live(self) -> Exception | None:
        """Connect, and stay connected; return why that ended, ``None`` if it was meant to."""
        self._ready_at = None
        began = time.monotonic()
        connection = Connection(self.entry, self._news.set)
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
                        self._part(connection)
                        scope.deadline = anyio.current_time() + END_SECONDS
        except Exception as caught:  # noqa: BLE001  (a server, and the SDK for it, may raise anything: it ends this life)
            error = caught
        finally:
            self._scope = None
        was_left = self._is_leaving or self._wants_restart
        if error is None and scope.cancelled_caught and self._ready_at is None and not was_left:
            way = through(self.entry.transport.url) if isinstance(self.entry.transport, Remote) else ""
            error = ConnectTimeoutError(f"did not become ready{way} within {self.entry.connect_timeout_seconds:g} s")
        if error is not None and not self._is_leaving:
            error = _cause(error, connection)
            self.last_error = self._explained(error)
        return error

    def _become_ready(self, connection: Connection, tools: tuple[types.Tool, ...]) -> None:
        self._connection = connection
        self._connections += 1
        self._ready_at, self._ready_since = time.monotonic(), time.time()
        self._take(tools, connection.malformed)
        self._set_state(ServerState.READY)
        log.info(
            "mcp_server_ready",
            server=self.name,
            protocol=connection.client.protocol_version,
            tools=len(self.tools),
            seconds=round(self._connect_seconds or 0.0, 3),
        )

    async def _serve(self, connection: Connection) -> None:
        """Return when the server is to be left.

        Raises:
            ConnectionLostError: it was lost.
        """
        while True:
            try:
                async with asyncio.timeout(IDLE_CHECK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                # One that is at work may be unable to answer, and has timeouts of its own.
                if not self.attempts:
                    await connection.check_health()
                continue
            self._news.clear()
            if self._is_leaving or self._wants_restart:
                return
            if connection.lost_reason is not None:
                raise ConnectionLostError(connection.lost_reason)
            if connection.has_new_tools:
                tools = await connection.tools()
                self._take(tools, connection.malformed)

    def _part(self, connection: Connection) -> None:
        """From here on nobody gets this connection."""
        connection.lose(LEFT)
        self._connection = None
        self._ready_since = None
        if not self._is_leaving:
            self._set_state(ServerState.RESTARTING)

    def _explained(self, cause: Exception) -> str:
        """Say what happened; what a process wrote last is the best explanation there is."""
        last = next((line for line in reversed(self._stderr.tail()) if line.strip()), None)
        if last is None or not isinstance(self.entry.transport, Process) or is_hopeless(cause):
            return reason_of(cause)
        return f"{reason_of(cause)}; the last line of its log: {last.strip()[:300]}"

    # Its tools and its state.

    def _take(self, tools: tuple[types.Tool, ...], malformed: tuple[ToolProblem, ...]) -> None:
        self._all_tools, problems = server_tools(self.name, {tool.name: tool for tool in tools}.values())
        self._note_problems((*malformed, *problems))
        self.has_listed = True
        self._offer()

    def _note_problems(self, problems: tuple[ToolProblem, ...]) -> None:
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
        # Why it was lost may be known a moment later than that it was: that is news too.
        if (state, self.last_error) != self._reported:
            self._reported = (state, self.last_error)
            self._on_change(self, "state")
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)


def _cause(error: Exception, connection: Connection) -> Exception:
    """What is behind ``error``: the SDK says no more than that the connection was closed, or refused."""
    if is_hopeless(error):
        return error
    if connection.lost_reason not in (None, LEFT):
        return ConnectionLostError(connection.lost_reason)
    return ConnectionLostError(connection.last_refusal) if connection.last_refusal else error


def _kind(transport: Process | Remote | None) -> Literal["stdio", "http", "sse"] | None:
    if transport is None:
        return None
    return "stdio" if isinstance(transport, Process) else transport.kind
