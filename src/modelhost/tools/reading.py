"""Resources and prompts of all servers, listed on request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from modelhost.errors import ToolCallFailed, ToolServerUnavailable
from modelhost.tools import content
from modelhost.tools.connection import Connection
from modelhost.tools.failures import ConnectionLostError, reason_of
from modelhost.tools.server import ToolServer
from modelhost.tools.status import PromptCard, ResourceCard, ResourceText

Read = TypeVar("Read")


class ResourceReader:
    """Reads the resources and prompts of servers. Each method is about one server.

    All of them raise:
        McpServerNotFound: there is none of that name.
        ToolServerUnavailable: it is not ready, was lost, or did not answer in time.
        ToolCallFailed: it answered with an error.
    """

    def __init__(self, find: Callable[[str], ToolServer]) -> None:
        self._find = find

    async def resources(self, server: str) -> tuple[ResourceCard, ...]:
        """Return the resources of a server, then its resource templates."""

        async def read(connection: Connection) -> tuple[ResourceCard, ...]:
            found = [content.resource_info(server, each) for each in await connection.resources()]
            found += [content.resource_info(server, each) for each in await connection.resource_templates()]
            return tuple(found)

        return await self._read(server, read)

    async def resource(self, server: str, uri: str) -> tuple[ResourceText, ...]:
        async def read(connection: Connection) -> tuple[ResourceText, ...]:
            return content.resource_contents(await connection.client.read_resource(uri))

        return await self._read(server, read)

    async def prompts(self, server: str) -> tuple[PromptCard, ...]:
        async def read(connection: Connection) -> tuple[PromptCard, ...]:
            return tuple(content.prompt_info(server, each) for each in await connection.prompts())

        return await self._read(server, read)

    async def prompt(self, server: str, name: str, arguments: Mapping[str, str]) -> content.Prompt:
        """Return a prompt with ``arguments`` filled in."""

        async def read(connection: Connection) -> content.Prompt:
            return content.prompt_of(await connection.client.get_prompt(name, dict(arguments)))

        return await self._read(server, read)

    async def _read(self, name: str, read: Callable[[Connection], Awaitable[Read]]) -> Read:
        """Return what ``read`` does; failures of the server are raised as errors of ours."""
        server = self._find(name)
        seconds = server.entry.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await _attempted(server, read)
        except TimeoutError:
            message = f'the MCP server "{name}" did not answer within {seconds:g} s'
            raise ToolServerUnavailable(message, server=name) from None
        except ConnectionLostError as error:
            raise ToolServerUnavailable(f'the MCP server "{name}" {error}', server=name) from error


async def _attempted(server: ToolServer, read: Callable[[Connection], Awaitable[Read]]) -> Read:
    """Return what ``read`` does, on the next connection if one is lost: reading twice is harmless."""
    connection = await server.connection()
    try:
        return await _answered(server, connection, read)
    except ConnectionLostError:
        if connection.lost_reason is None:
            raise
    return await _answered(server, await server.connection(after=connection), read)


async def _answered(server: ToolServer, connection: Connection, read: Callable[[Connection], Awaitable[Read]]) -> Read:
    try:
        return await read(connection)
    except (MCPError, ValidationError) as error:
        if connection.lost_reason is not None:
            raise ConnectionLostError(connection.lost_reason) from error
        raise ToolCallFailed(f'the MCP server "{server.name}" {reason_of(error)}', server=server.name) from error
