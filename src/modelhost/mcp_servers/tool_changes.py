"""Notifications that the list of tools has changed: a model was added that does what no other could, or removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from mcp.server.connection import Connection
from mcp.server.subscriptions import InMemorySubscriptionBus, ToolsListChanged

from modelhost.background import log_failures

ReadTools = Callable[[], Awaitable[object | None]]

LOOK_SECONDS: Final = 10.0
"""How often the models are looked at while a client that has listed the tools is connected."""
STATE: Final = "modelhost.tool_changes"
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
        if not connection.has_standalone_channel or STATE in connection.state:
            return
        changed = asyncio.Event()
        unsubscribe = self._bus.subscribe(lambda event: changed.set() if isinstance(event, ToolsListChanged) else None)
        telling = connection.state[STATE] = asyncio.create_task(_tell(connection, changed), name="telling of MCP tools")
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
            await asyncio.sleep(LOOK_SECONDS)


async def _tell(connection: Connection, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        await connection.send_tool_list_changed()
