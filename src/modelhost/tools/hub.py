"""The hub: all MCP servers, their tools under names for models, and calls of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from modelhost.errors import McpServerNotFound, ToolNotFound
from modelhost.events import EventBus, Subscription
from modelhost.logs import get_logger, has_debug
from modelhost.meters import METERS, labelled_counter, labelled_histogram
from modelhost.monitor import measure
from modelhost.tools.call import call_tool, failed, needs_approval
from modelhost.tools.call_spans import call_span, note_outcome
from modelhost.tools.callbacks import NO_CONTEXT, CallContext, Sampler
from modelhost.tools.catalogue import Catalogue, CatalogueEntry, OfferedTool, catalogue_of
from modelhost.tools.entry import ServerEntry
from modelhost.tools.failures import StartingServers
from modelhost.tools.names import ALL, ALL_OF_SERVER, Selection
from modelhost.tools.outcome import ResultLimits, ToolOutcome
from modelhost.tools.reading import ResourceReader
from modelhost.tools.server import ToolServer
from modelhost.tools.status import MissingServer, ServerReport, ServerState, ToolEvent

log = get_logger(__name__)

MAX_RESULT_CHARS: Final = 100_000
"""Of one result: some 25,000 tokens, more than most contexts have to spare."""
MAX_IMAGE_BYTES: Final = 5_000_000
"""Of the images of one result together. Models see less: large images are scaled down for them."""
OF_REQUESTS: Final = ("(of a request)", "")
"""The labels of metrics for servers that requests name: anybody could add to them without end."""
SDK_LOGGERS: Final = ("mcp.client", "mcp.shared", "client")


class ToolHub:
    """The servers of a configuration. One that is slow, broken or gone neither delays nor disables another.

    What is about one server raises McpServerNotFound if there is none of that name, and ToolServerUnavailable if it
    cannot be used as it is configured, or does not answer.
    """

    def __init__(
        self,
        entries: Iterable[ServerEntry] = (),
        *,
        sampler: Sampler | None = None,
        max_result_chars: int = MAX_RESULT_CHARS,
        max_image_bytes: int = MAX_IMAGE_BYTES,
        is_of_request: bool = False,
    ) -> None:
        """Take the servers; with ``is_of_request``, metrics name neither them nor their tools."""
        self._is_of_request = is_of_request
        self._sampler = sampler
        self._limits = ResultLimits(chars=max_result_chars, image_bytes=max_image_bytes)
        self._servers: dict[str, ToolServer] = {}
        self._catalogue: Catalogue | None = None
        self._events = EventBus[ToolEvent]()
        self._is_started = False
        self._changing = asyncio.Lock()
        """One change of the set of servers at a time: each takes as long as processes take to end."""
        self.reading = ResourceReader(self._server)
        for entry in entries:
            self._add(entry)

    # Start and stop.

    async def start(self) -> None:
        """Begin to connect all servers concurrently; does not wait for them."""
        # They repeat what servers send and every failure of a server, which this hub logs itself.
        for name in SDK_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        async with self._changing:
            self._is_started = True
            for server in self._servers.values():
                _start(server)

    async def settled(self, seconds: float) -> bool:
        """Wait until each server is ready or has failed once, for at most ``seconds``; return whether they are."""
        try:
            async with asyncio.timeout(seconds):
                for server in list(self._servers.values()):
                    while server.state is ServerState.CONNECTING:
                        await server.changed()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Stop all servers and their processes, concurrently."""
        async with self._changing:
            self._is_started = False
            await _stopped(self._servers.values())
            self._events.close()

    async def apply(self, entries: Iterable[ServerEntry]) -> None:
        """Replace the servers by those of ``entries``. A server whose connection is the same keeps it and its calls."""
        wanted = {entry.name: entry for entry in entries}
        async with self._changing:
            gone = [server for name, server in self._servers.items() if name not in wanted]
            anew = [server for server in self._servers.values() if _needs_anew(server, wanted.get(server.name))]
            for server in gone:
                del self._servers[server.name]
            self._catalogue = None
            await _stopped([*gone, *anew])
            for server in gone:
                self._events.publish(ToolEvent(at=time.time(), kind="removed", server=server.name))
            for entry in wanted.values():
                self._put(entry, is_anew=any(server.name == entry.name for server in anew))
            # In the order of the configuration, so that prompts do not depend on the order of changes.
            self._servers = {name: self._servers[name] for name in wanted}
            self._catalogue = None

    def _put(self, entry: ServerEntry, *, is_anew: bool) -> None:
        known = self._servers.get(entry.name)
        if known is not None and not is_anew:
            if known.entry != entry:
                known.change(entry)
            return
        server = self._add(entry)
        if self._is_started:
            _start(server)

    def _add(self, entry: ServerEntry) -> ToolServer:
        server = ToolServer(entry, self._sampler, self._on_change)
        self._servers[entry.name] = server
        return server

    # The servers.

    def status(self, name: str) -> ServerReport:
        return self._server(name).status()

    def statuses(self) -> tuple[ServerReport, ...]:
        """Return the status of all servers, in the order of the configuration."""
        return tuple(server.status() for server in self._servers.values())

    async def restart(self, name: str) -> None:
        """Reconnect a server, also a failed or stopped one; does not wait for it."""
        async with self._changing:
            self._server(name).restart()

    async def check_health(self, name: str) -> None:
        """Check that a server answers, as happens regularly while it is idle; one that does not is restarted."""
        await self._server(name).check_health()

    async def enable(self, name: str) -> None:
        """Begin to connect a disabled server. It stays enabled until its entry changes."""
        async with self._changing:
            self._server(name).start()

    async def disable(self, name: str) -> None:
        """Stop a server. It stays disabled until its entry changes."""
        async with self._changing:
            await self._server(name).stop(ServerState.DISABLED)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Subscription[ToolEvent]]:
        """Events of the servers while the context is entered, beginning with the present state of each."""
        listener = self._events.subscribe([_event(server, "state") for server in self._servers.values()])
        try:
            yield listener
        finally:
            self._events.unsubscribe(listener)

    def _server(self, name: str, field: str | None = None) -> ToolServer:
        server = self._servers.get(name)
        if server is None:
            known = list(self._servers)
            raise McpServerNotFound(f'no MCP server is called "{name}"', param=field, server=name, servers=known)
        return server

    def server_names(self) -> tuple[str, ...]:
        return tuple(self._servers)

    # The tools.

    def offered(self, selection: Selection = ALL) -> tuple[OfferedTool, ...]:
        """Return the tools that can be called now, all or those of ``selection``.

        All of them are the same object as long as nothing changes.

        Raises:
            McpServerNotFound, ToolNotFound: the selection names a server or tool that does not exist.
        """
        if selection is not ALL:
            self._check(selection)
        return self._selected(selection)

    def missing(self, selection: Selection = ALL) -> tuple[MissingServer, ...]:
        """Return the servers that should be ready, but whose tools :meth:`offered` lacks."""
        return tuple(MissingServer(server=server.name, state=server.state) for server in self._absent(selection))

    @property
    def is_whole(self) -> bool:
        """Whether all servers that should be ready are."""
        return not self._current().absent

    def starting(self, selection: Selection = ALL) -> StartingServers | None:
        """Return those of the missing servers that a request should :meth:`wait_for`; ``None`` if there are none.

        A server delays requests once per start, for a limited time that begins with the first request.

        Raises:
            McpServerNotFound: the selection names one that does not exist.
        """
        self._check_servers(selection)
        seconds = {server.name: server.seconds_to_wait() for server in self._absent(selection)}
        waited_for = tuple(name for name, left in seconds.items() if left)
        return StartingServers(servers=waited_for, seconds=max(seconds.values())) if waited_for else None

    async def wait_for(self, starting: StartingServers) -> None:
        """Wait until each of these servers is ready or has failed, or its time is over."""
        for server in [self._servers[name] for name in starting.servers if name in self._servers]:
            await server.first_connection()

    def _selected(self, selection: Selection) -> tuple[OfferedTool, ...]:
        offered = self._current().offered
        return offered if selection is ALL else tuple(tool for tool in offered if selection.includes(tool))

    def _absent(self, selection: Selection) -> tuple[ToolServer, ...]:
        absent = self._current().absent
        if not absent or selection is ALL:
            return absent
        if selection.is_met_by(self._selected(selection)):
            return ()
        return tuple(server for server in absent if selection.includes_server(server.name))

    def tool(self, name: str) -> OfferedTool:
        """Return the tool called ``name``, whether its server is ready or not.

        ``name`` is its name for models, ``server.tool``, or its original name if no other tool has it.

        Raises:
            ToolNotFound: there is none, or there are several.
        """
        found = self._current().meant_by(name)
        if len(found) > 1:
            listed = " or ".join(f"{each.known.server}.{each.known.tool}" for each in found)
            raise ToolNotFound(f'several MCP servers have a tool "{name}"; take {listed}', tool=name)
        if not found:
            raise self._not_found(name)
        return found[0].offered

    def find(self, name: str) -> OfferedTool | None:
        """Return the tool with that name for models, whether its server is ready or not."""
        listed = self._current().listed.get(name)
        return None if listed is None else listed.offered

    def needs_approval(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> bool:
        """Whether :meth:`call` would ask for approval: not of a call that it refuses anyway."""
        listed = self._granted(name, context)
        return listed is not None and needs_approval(listed, arguments, context)

    async def call(
        self, name: str, arguments: Mapping[str, Any] | str, context: CallContext = NO_CONTEXT
    ) -> ToolOutcome:
        """Call a tool with arguments as a mapping, or as the JSON text that a model wrote.

        A failure of the call, the tool or its server is an outcome for the model to read. If the caller is cancelled,
        the server is notified.
        """
        listed = self._granted(name, context)
        if listed is None:
            granted = context.granted
            near = [each for each in self._current().suggestions(name) if granted is None or each in granted]
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            METERS.tool_calls.labels("", "", "tool_not_found").inc()
            return failed(name, "tool_not_found", f'The call was not made: there is no tool "{name}".{hint}')
        known, began, became = listed.known, time.monotonic(), "cancelled"
        labels = OF_REQUESTS if self._is_of_request else (known.server, known.tool)
        try:
            with call_span(listed.offered, arguments, context.call_id) as span:
                outcome = await call_tool(listed, arguments, context, self._limits)
                note_outcome(span, outcome)
            became = outcome.code or "ok"
        finally:
            labelled_counter(METERS.tool_calls, *labels, became).inc()
            seconds = time.monotonic() - began
            labelled_histogram(METERS.tool_call_seconds, *labels).observe(seconds)
            measure.tool_called(seconds)
            if has_debug():
                log.debug("tool_call", server=known.server, tool=known.tool, outcome=became, seconds=round(seconds, 4))
        return outcome

    def _granted(self, name: str, context: CallContext) -> CatalogueEntry | None:
        granted = context.granted
        return self._current().listed.get(name) if granted is None or name in granted else None

    def _check(self, selection: Selection) -> None:
        self._check_servers(selection)
        # The tools of a server that has never been connected are unknown.
        if selection.tools is None or not all(server.has_listed for server in self._servers.values()):
            return
        for name in selection.tools:
            if not name.endswith(ALL_OF_SERVER) and not self._current().meant_by(name):
                raise self._not_found(name, selection.field)

    def _check_servers(self, selection: Selection) -> None:
        for name in selection.servers or ():
            self._server(name, selection.field)

    def _not_found(self, name: str, field: str | None = None) -> ToolNotFound:
        near = self._current().suggestions(name)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        return ToolNotFound(f'no MCP server has a tool "{name}"{hint}', param=field, tool=name)

    def _current(self) -> Catalogue:
        if self._catalogue is None:
            self._catalogue = catalogue_of(self._servers.values())
        return self._catalogue

    def _on_change(self, server: ToolServer, what: Literal["state", "tools"]) -> None:
        self._catalogue = None
        if self._servers.get(server.name) is server:
            self._events.publish(_event(server, what))


def _event(server: ToolServer, kind: Literal["state", "tools"]) -> ToolEvent:
    message = server.last_error if server.state in (ServerState.FAILED, ServerState.RESTARTING) else None
    return ToolEvent(at=time.time(), kind=kind, server=server.name, state=server.state, message=message)


def _start(server: ToolServer) -> None:
    if server.entry.is_enabled and server.entry.why_disabled is None:
        server.start()


async def _stopped(servers: Collection[ToolServer]) -> None:
    await asyncio.gather(*(server.stop() for server in servers))


def _needs_anew(server: ToolServer, entry: ServerEntry | None) -> bool:
    if entry is None:
        return False
    old = server.entry
    is_same = old.is_connected_as(entry) and old.why_disabled == entry.why_disabled
    return not is_same or old.is_enabled != entry.is_enabled
