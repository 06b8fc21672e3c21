"""The MCP servers that one request names by their addresses: connected while it is answered, and for it alone.

They are strangers: reached through the guard, at public addresses only, with a limit on what they may send. They may
neither use models of the host (sampling) nor see folders, and metrics do not name them, since anybody can name many.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2

from modelhost.errors import FetchFailed, FetchRefused, InvalidRequest
from modelhost.exchange.requests import RemoteMcpServer
from modelhost.fetching.guard import Guard
from modelhost.tools.callbacks import CallContext
from modelhost.tools.catalogue import OfferedTool
from modelhost.tools.entry import HttpTransport, ServerEntry, kind_at
from modelhost.tools.hub import ToolHub
from modelhost.tools.outcome import ToolOutcome
from modelhost.tools.status import ServerReport, ServerState

MOST: Final = 10
"""Servers in one request."""
CONNECT_SECONDS: Final = 15.0
"""For the handshake and the list of tools of each, after which the request is refused."""
END_SECONDS: Final = 10.0


@asynccontextmanager
async def connected(servers: Sequence[RemoteMcpServer], guard: Guard) -> AsyncIterator[ToolHub]:
    """Yield a hub of ``servers``, all of which are ready, and end the connections afterwards.

    Raises:
        InvalidRequest: there are too many, or two of one name.
        FetchRefused: the guard does not permit an address.
        FetchFailed: one cannot be reached, or is no MCP server.
    """
    _check(servers)
    await _check_addresses(servers, guard)
    hub = ToolHub((_entry(server, guard) for server in servers), is_of_request=True)
    await hub.start()
    try:
        await hub.settled(CONNECT_SECONDS + END_SECONDS)
        for server in servers:
            _check_ready(hub.status(server.name), server)
        yield hub
    finally:
        await hub.stop()


def _check(servers: Sequence[RemoteMcpServer]) -> None:
    if len(servers) > MOST:
        raise InvalidRequest(f"{servers[MOST].param}: a request may name {MOST} servers.", param=servers[MOST].param)
    known: set[str] = set()
    for server in servers:
        if server.name in known:
            message = f'{server.param}: another server of the request is called "{server.name}", too.'
            raise InvalidRequest(message, param=server.param)
        known.add(server.name)


async def _check_addresses(servers: Sequence[RemoteMcpServer], guard: Guard) -> None:
    """Refuse what the guard refuses before any server is connected. It checks again at each connection."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS), asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(_check_address(server, guard))
    except TimeoutError:
        raise FetchRefused("mcp_servers: the name of a server is not resolved in time.") from None
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _check_address(server: RemoteMcpServer, guard: Guard) -> None:
    try:
        await guard.addresses(httpx2.URL(server.url))
    except FetchRefused as error:
        raise FetchRefused(f"{server.param}: {error.message}", param=server.param) from None
    except httpx2.InvalidURL:
        raise FetchRefused(f"{server.param}: this is not a URL.", param=server.param) from None


def _check_ready(status: ServerReport, server: RemoteMcpServer) -> None:
    if status.state is not ServerState.READY:
        why = status.last_error or "did not become ready"
        message = f'{server.param}: the MCP server "{server.name}" {why.rstrip(".")}.'
        raise FetchFailed(message, param=server.param, server=server.name)


def _entry(server: RemoteMcpServer, guard: Guard) -> ServerEntry:
    return ServerEntry(
        name=server.name,
        transport=HttpTransport(kind=kind_at(server.url), url=server.url, headers=server.headers, guard=guard),
        allowed_tools=server.allowed_tools,
        denied_tools=server.denied_tools,
        connect_timeout_seconds=CONNECT_SECONDS,
        approval=server.approval,
    )


class RequestTools:
    """The tools of a request that names servers: those of the host that it was granted, and those of its servers.

    A tool of the host that it was not granted does not exist for it: a stranger may have made the model call it.
    """

    def __init__(
        self,
        host: ToolHub,
        granted: Collection[OfferedTool],
        own: ToolHub,
        servers: Sequence[RemoteMcpServer] = (),
    ) -> None:
        """Take the tools, and the ``servers`` of the request as it names them.

        Raises:
            InvalidRequest: two have one name.
        """
        self._host = host
        self._granted = frozenset(tool.name for tool in granted)
        self._own = own
        wanted = {server.name: server.read_only for server in servers}
        offered = [tool for tool in own.offered() if wanted.get(tool.server) in (None, tool.is_read_only)]
        self.offered = (*granted, *offered)
        for tool in offered:
            if tool.name in self._granted:
                raise InvalidRequest(f'The host has a tool "{tool.name}", too: give "{tool.server}" another name.')

    async def call(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> ToolOutcome:
        """As :meth:`ToolHub.call`."""
        return await self._hub_of(name).call(name, arguments, context)

    def find(self, name: str) -> OfferedTool | None:
        """As :meth:`ToolHub.find`."""
        return self._hub_of(name).find(name)

    def needs_approval(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> bool:
        """As :meth:`ToolHub.needs_approval`."""
        return self._hub_of(name).needs_approval(name, arguments, context)

    def _hub_of(self, name: str) -> ToolHub:
        return self._host if name in self._granted else self._own
