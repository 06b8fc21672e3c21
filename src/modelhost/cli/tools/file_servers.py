"""Starts the servers of an `mcp.json` for one command, without a host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelhost import logs
from modelhost.chat.tools.questions import Questions
from modelhost.cli import console
from modelhost.config import environment
from modelhost.config.paths import expand_home
from modelhost.operations.operation import Operation, P, R
from modelhost.tools.hub import ToolHub
from modelhost.tools.reading import ResourceReader
from modelhost.tools.servers_file import ToolServers, read_servers

GRACE_SECONDS: Final = 1.0  # after a server's own timeout, until it counts as failed


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file that was read without an error."""

    path: Path
    file_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHost:
    """Replaces a host for operations on tools; it has no questions for the user."""

    toolbox: LocalFile
    tools: ToolHub
    questions: Questions

    @property
    def readings(self) -> ResourceReader:
        return self.tools.reading


@dataclass(frozen=True, slots=True, kw_only=True)
class FileServers:
    """Started servers, with the event loop in which operations run."""

    runner: asyncio.Runner
    host: LocalHost

    def call(self, operation: Operation[P, R], parameters: P) -> R:
        """Run an operation on tools; raises what it raises."""
        return self.runner.run(operation.run(self.host, parameters))


@contextmanager
def open_file_servers(path: Path) -> Iterator[FileServers]:
    """Start the servers of the file at ``path`` and wait until each is ready or failed.

    Raises:
        ConfigError: the file cannot be used.
    """
    logs.setup("error")  # the answer reports failures of servers
    path = expand_home(path)
    servers = read_servers(path, environment.current())
    for warning in servers.warnings:
        console.warning(warning)
    with asyncio.Runner() as runner:
        hub = runner.run(_started(servers))
        try:
            host = LocalHost(toolbox=LocalFile(path=path), tools=hub, questions=Questions())
            yield FileServers(runner=runner, host=host)
        finally:
            runner.run(hub.stop())


async def _started(servers: ToolServers) -> ToolHub:
    hub = ToolHub(servers.servers)
    seconds = max((entry.connect_timeout_seconds for entry in servers.servers), default=0.0) + GRACE_SECONDS
    try:
        await hub.start()
        await hub.settled(seconds)
    except BaseException:
        await hub.stop()
        raise
    return hub
