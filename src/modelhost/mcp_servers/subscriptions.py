"""Subscriptions of clients: to resources, and to the list of tools. They are notified when these have changed.

What is subscribed to is read again and again while there are subscribers, and compared: that works for a host in this
process as well as for one over HTTP.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any, Final

import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from modelhost.background import log_failures
from modelhost.errors import ModelhostError
from modelhost.exchange.caller import Face
from modelhost.mcp_servers.errors import INVALID, protocol_error
from modelhost.mcp_servers.resources import Resources

ReadTools = Callable[[], Awaitable[object | None]]

TOOLS_LOOK_SECONDS: Final = 10.0
"""How often the models are looked at while a client that has listed the tools is connected."""
TOOLS_STATE: Final = "modelhost.tool_changes"
"""The key of what follows the changes in a connection's state."""


class ToolChanges:
    """Follows what decides which tools are listed, for all clients of one server, in both eras of the protocol."""

    def __init__(self, read: ReadTools, bus: InMemorySubscriptionBus) -> None:
        """``read`` returns what decides; ``None``: it is unknown at present, which is no change."""
        self._read = read
        self._bus = bus
        self._followers = 0
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def following(self) -> Iterator[None]:
        """Publish changes on the bus inside."""
        self._add()
        try:
            yield
        finally:
            self._remove()

    def follow(self, connection: Connection) -> None:
        """Notify the client of a handshake of changes, until its connection ends; without a channel, it cannot be."""
        if not connection.has_standalone_channel or TOOLS_STATE in connection.state:
            return
        changed = asyncio.Event()
        unsubscribe = self._bus.subscribe(lambda event: changed.set() if isinstance(event, ToolsListChanged) else None)
        telling = connection.state[TOOLS_STATE] = asyncio.create_task(
            _tell_of_tools(connection, changed), name="telling of MCP tools"
        )
        self._add()

        def end() -> None:
            telling.cancel()
            unsubscribe()
            self._remove()

        connection.exit_stack.callback(end)

    def _add(self) -> None:
        self._followers += 1
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="watching MCP tools")

    def _remove(self) -> None:
        self._followers -= 1
        if not self._followers and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        known: Any = None
        while True:
            with log_failures("watching MCP tools"):
                found = await self._read()
                if found is not None and known not in (None, found):
                    await self._bus.publish(ToolsListChanged())
                known = known if found is None else found
            await asyncio.sleep(TOOLS_LOOK_SECONDS)


async def _tell_of_tools(connection: Connection, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        await connection.send_tool_list_changed()


Context = ServerRequestContext[Any, Any]

LOOK_SECONDS: Final[Mapping[Face, float]] = {"mcp-http": 1.0, "mcp-stdio": 5.0}
"""How often subscribed resources are read. Over standard input and output each reading is a request to the host."""
MOST_URIS: Final = 100
"""Each is read anew at every look."""
STATE: Final = "modelhost.subscriptions"
"""The key of a connection's subscribed URIs in its state."""


class Subscriptions:
    """The subscriptions of all clients of one server, in both eras of the protocol."""

    def __init__(self, resources: Resources, door: Face, read_tools: ReadTools | None = None) -> None:
        """``read_tools`` returns what decides which tools are listed; ``None``: the list never changes."""
        self._resources = resources
        self._look_seconds = LOOK_SECONDS.get(door, max(LOOK_SECONDS.values()))
        self._bus = InMemorySubscriptionBus()
        self._tools = None if read_tools is None else ToolChanges(read_tools, self._bus)
        self._listening = ListenHandler(self._bus)
        self._subscribed: Counter[str] = Counter()
        """How many subscribe to each URI."""
        self._known: dict[str, Any] = {}
        """The contents of each URI when they were read last."""
        self._watching: asyncio.Task[None] | None = None

    # Clients with a handshake.

    async def subscribe(self, ctx: Context, request: types.SubscribeRequestParams) -> types.EmptyResult:
        """Notify the session of changes of a resource, until it ends.

        Raises:
            MCPError: the resource cannot be subscribed to or cannot exist, or the client cannot be notified.
        """
        connection, uri = ctx.session._connection, str(request.uri)
        if not connection.has_standalone_channel:
            raise MCPError(types.INVALID_REQUEST, "Subscriptions need a session: begin with `initialize`.")
        if not self._resources.can_change(uri):
            raise MCPError(types.INVALID_PARAMS, f"Resource not found, or without subscriptions: {uri}", {"uri": uri})
        uris = self._uris_of(connection)
        if uri not in uris:
            try:
                await self._add(uri)
            except INVALID as error:
                raise protocol_error(error, uri) from None
            uris.add(uri)
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, request: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """End a subscription, if there is one."""
        uris, uri = self._uris_of(ctx.session._connection), str(request.uri)
        if uri in uris:
            uris.remove(uri)
            self._remove(uri)
        return types.EmptyResult()

    def _uris_of(self, connection: Connection) -> set[str]:
        uris: set[str] | None = connection.state.get(STATE)
        if uris is None:
            uris = connection.state[STATE] = set()
            pending: asyncio.Queue[str] = asyncio.Queue()
            unsubscribe = self._bus.subscribe(
                lambda event: (
                    pending.put_nowait(event.uri) if isinstance(event, ResourceUpdated) and event.uri in uris else None
                )
            )
            telling = asyncio.create_task(_tell(connection, pending), name="notifying an MCP client")

            def end() -> None:
                telling.cancel()
                unsubscribe()
                for uri in uris:
                    self._remove(uri)
                uris.clear()

            connection.exit_stack.callback(end)
        return uris

    def follow_tools(self, ctx: Context) -> None:
        """Notify the session, which has listed the tools, of changes of the list."""
        if self._tools is not None and ctx.protocol_version not in types.version.MODERN_PROTOCOL_VERSIONS:
            self._tools.follow(ctx.session._connection)

    # Clients without one.

    async def listen(
        self, ctx: Context, request: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Serve a stream of notifications until its client disconnects.

        What cannot change and what cannot exist is left out.
        """
        wanted = request.notifications.resource_subscriptions or ()
        uris = [uri for uri in dict.fromkeys(map(str, wanted)) if self._resources.can_change(uri)]
        tools = self._tools if request.notifications.tools_list_changed else None
        async with self._held(uris) as held:
            only = types.SubscriptionFilter(resource_subscriptions=held, tools_list_changed=tools is not None)
            with nullcontext() if tools is None else tools.following():
                return await self._listening(ctx, request.model_copy(update={"notifications": only}))

    @asynccontextmanager
    async def _held(self, uris: list[str]) -> AsyncIterator[list[str]]:
        """Watch those of ``uris`` that can exist, which are yielded."""
        added: list[str] = []
        try:
            for uri in uris:
                with suppress(*INVALID):
                    await self._add(uri)
                    added.append(uri)
            yield added
        finally:
            for uri in added:
                self._remove(uri)

    # What is watched.

    async def _add(self, uri: str) -> None:
        """Watch a resource; raises one of :data:`INVALID` if it cannot exist."""
        if uri not in self._subscribed and len(self._subscribed) >= MOST_URIS:
            raise MCPError(types.INVALID_REQUEST, f"Clients have subscribed to {MOST_URIS} resources already.")
        self._subscribed[uri] += 1
        if self._subscribed[uri] == 1:
            try:
                self._known[uri] = await self._first_reading(uri)
            except BaseException:
                self._remove(uri)
                raise
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="watching MCP resources")

    def _remove(self, uri: str) -> None:
        self._subscribed[uri] -= 1
        if not self._subscribed[uri]:
            del self._subscribed[uri]
            self._known.pop(uri, None)
        if not self._subscribed and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            for uri in list(self._subscribed):
                with log_failures("watching MCP resources", uri=uri):
                    await self._look(uri)

    async def _look(self, uri: str) -> None:
        found = await self._read(uri)
        if found is not None and uri in self._subscribed and found != self._known.get(uri):
            self._known[uri] = found
            await self._bus.publish(ResourceUpdated(uri=uri))

    async def _first_reading(self, uri: str) -> Any:
        try:
            return await self._resources.changing_contents(uri)
        except INVALID:
            raise
        except ModelhostError:  # it may be readable later
            return None

    async def _read(self, uri: str) -> Any:
        """Return what of a resource can change; ``None`` if it cannot be read now."""
        with suppress(ModelhostError):
            return await self._resources.changing_contents(uri)
        return None


async def _tell(connection: Connection, pending: asyncio.Queue[str]) -> None:
    """Notify a client of what has changed: once of each resource, however slowly it reads."""
    while True:
        uris = {await pending.get()}
        while not pending.empty():
            uris.add(pending.get_nowait())
        for uri in sorted(uris):
            await connection.send_resource_updated(uri)
