"""Resources and prompts of all servers, listed when someone asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from modelhost.errors import ToolCallFailed, ToolServerUnavailable
from modelhost.tools.connection import Connection
from modelhost.tools.reasons import ConnectionLostError, reason_of
from modelhost.tools.resources import (
    Prompt,
    PromptInfo,
    ResourceContent,
    ResourceInfo,
    prompt_info,
    prompt_of,
    resource_contents,
    resource_info,
    template_info,
)
from modelhost.tools.server import ToolServer


class Reading:
    """What servers have beside tools. Each method is about one server, which has to be there.

    All of them raise:
        McpServerNotFound: there is none of that name.
        ToolServerUnavailable: it is not ready, or was lost meanwhile, or did not answer in time.
        ToolCallFailed: it answered with an error.
    """

    def __init__(self, find: Callable[[str], ToolServer]) -> None:
        self._find = find

    async def resources(self, server: str) -> tuple[ResourceInfo, ...]:
        """The resources of a server, then its families of them."""
        async with self._asked(server) as connection:
            found = [resource_info(server, each) for each in await connection.resources()]
            found += [template_info(server, each) for each in await connection.resource_templates()]
            return tuple(found)

    async def resource(self, server: str, uri: str) -> tuple[ResourceContent, ...]:
        """What the resource at ``uri`` holds."""
        async with self._asked(server) as connection:
            return resource_contents(await connection.client.read_resource(uri))

    async def prompts(self, server: str) -> tuple[PromptInfo, ...]:
        """The prompts of a server."""
        async with self._asked(server) as connection:
            return tuple(prompt_info(server, each) for each in await connection.prompts())

    async def prompt(self, server: str, name: str, arguments: Mapping[str, str]) -> Prompt:
        """A prompt with ``arguments`` filled in."""
        async with self._asked(server) as connection:
            return prompt_of(await connection.client.get_prompt(name, dict(arguments)))

    @asynccontextmanager
    async def _asked(self, name: str) -> AsyncIterator[Connection]:
        """The connection to a server; what goes wrong with it within the context is one of our errors."""
        server = self._find(name)
        seconds = server.entry.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                connection = await server.connection()
                try:
                    yield connection
                except (MCPError, ValidationError) as error:
                    if connection.why_lost is not None:
                        raise ConnectionLostError(connection.why_lost) from error
                    message = f'the MCP server "{name}" {reason_of(error)}'
                    raise ToolCallFailed(message, server=name) from error
        except TimeoutError:
            message = f'the MCP server "{name}" did not answer within {seconds:g} s'
            raise ToolServerUnavailable(message, server=name) from None
        except ConnectionLostError as error:
            raise ToolServerUnavailable(f'the MCP server "{name}" {error}', server=name) from error
