"""The tools of a host: the servers of its `mcp.json`, which is watched while the host runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelhost import lazy
from modelhost.background import SECONDS_TO_REPAIR, cancel_and_wait, log_failures
from modelhost.config.paths import expand_home
from modelhost.errors import ConfigError
from modelhost.logs import get_logger
from modelhost.meters import METERS
from modelhost.redaction import hide
from modelhost.tools.callbacks import Sampler
from modelhost.tools.servers_file import ToolServers, read_servers, watch_servers

if TYPE_CHECKING:
    from modelhost.tools.hub import ToolHub
    from modelhost.tools.reading import ResourceReader

log = get_logger(__name__)

SECONDS_TO_GIVE_UP: Final = 15.0
"""For ending a server that could not be connected."""


class Toolbox:
    """Made by :meth:`start`; to be stopped."""

    def __init__(self, path: Path | None, servers: ToolServers, sampler: Sampler | None) -> None:
        self._sampler = sampler
        self.path = path
        self.file_error: str | None = None
        """Why the current file is not in force; the previous one is."""
        self._servers = servers
        self._watching: asyncio.Task[None] | None = None
        self._again = asyncio.Event()

    @classmethod
    async def start(cls, path: Path | None, environ: Mapping[str, str], sampler: Sampler) -> Toolbox:
        """Read the file and begin to connect its servers, waiting for none of them. Without a file there are none.

        Raises:
            ConfigError: the file cannot be used at all; an invalid server is only disabled.
        """
        path = None if path is None else expand_home(path)  # it may come from a program or a file
        servers = await asyncio.to_thread(read_servers, path, environ) if path is not None else ToolServers()
        toolbox = cls(path, servers, sampler)
        toolbox._note(servers)
        if path is not None:
            await toolbox.hub.start()
            watching = toolbox._watch(path, environ, servers.digest)
            toolbox._watching = asyncio.create_task(watching, name="watching mcp.json")
        return toolbox

    @cached_property
    def hub(self) -> ToolHub:
        """The servers; made when needed, since a host without any does without the MCP SDK."""
        return lazy.tool_hub.ToolHub(self._servers.servers, sampler=self._sampler)

    @property
    def reading(self) -> ResourceReader:
        return self.hub.reading

    @property
    def is_injected(self) -> bool:
        """Whether tools are added to requests that bring none."""
        return self.path is not None and self._servers.is_injected

    @property
    def is_whole(self) -> bool:
        """Whether all servers that should be ready are; there may be none."""
        return not self._servers.servers or self.hub.is_whole

    async def settled(self) -> None:
        """Return when each server is ready or has failed; none may take longer than its connect timeout."""
        if self._servers.servers:
            slowest = max(server.connect_timeout_seconds for server in self._servers.servers)
            await self.hub.settled(slowest + SECONDS_TO_GIVE_UP)

    async def stop(self) -> None:
        await cancel_and_wait(self._watching)
        if self.path is not None:
            await self.hub.stop()

    def reread(self) -> None:
        """Read the file again now, if there is one."""
        self._again.set()

    async def _watch(self, path: Path, environ: Mapping[str, str], seen: str | None) -> None:
        """Follow the file; start over after a fault of the host."""
        while True:
            with log_failures("watching mcp.json", path=str(path)) as attempt:
                await self._keep_up(path, environ, seen)
            self.file_error = f"The file could not be watched: {attempt.fault}. It is tried again."
            METERS.mcp_config_ok.set(0)
            seen = None
            await asyncio.sleep(SECONDS_TO_REPAIR)

    async def _keep_up(self, path: Path, environ: Mapping[str, str], seen: str | None) -> None:
        async with aclosing(watch_servers(path, environ, seen=seen, again=self._again)) as readings:
            async for reading in readings:
                if isinstance(reading, ConfigError):
                    self.file_error = reading.message
                    METERS.mcp_config_ok.set(0)
                    log.error("mcp_config_refused", path=str(path), problems=reading.message)
                else:
                    self._note(reading)
                    self._servers = reading
                    await self.hub.apply(reading.servers)

    def _note(self, servers: ToolServers) -> None:
        self.file_error = None
        METERS.mcp_config_ok.set(1)
        hide(servers.secrets)
        for warning in servers.warnings:
            log.warning("mcp_config", warning=warning)
        for server in servers.servers:
            if server.why_disabled is not None:
                log.warning("mcp_server_disabled", server=server.name, reason=server.why_disabled)
