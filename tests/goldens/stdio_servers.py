"""``modelhost mcp`` once for each server, started quickly: one process imports what they need, and forks for each.

From its ``main`` on, each is what a client starts; only the imports, seconds of them, are done once for all.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

SECONDS: Final = 60.0
RUNNER: Final = """
import json, os, sys
from modelhost.cli.main import main
from modelhost.client import remote
from modelhost.mcp_servers import server, stdio
from modelhost.mcp_servers import chat_tool
from modelhost.mcp_servers import standard_streams
processes = {}
for name, arguments, read, write in json.loads(sys.argv[1]):
    process = os.fork()
    if process == 0:
        os.dup2(read, 0)
        os.dup2(write, 1)
        for _, _, *others in json.loads(sys.argv[1]):
            for other in others:
                os.close(other)
        os._exit(main(arguments))
    processes[process] = name
for _, _, *ours in json.loads(sys.argv[1]):
    for each in ours:
        os.close(each)
statuses = {}
while processes:
    process, status = os.wait()
    statuses[processes.pop(process)] = os.waitstatus_to_exitcode(status)
print(json.dumps(statuses), file=sys.stderr)
"""


class Pipes:
    """The two ends of a server that are a client's."""

    def __init__(self) -> None:
        self.read, self._to_us = os.pipe()
        self._to_server, self.write = os.pipe()
        self._unread = b""

    @property
    def of_the_server(self) -> tuple[int, int]:
        return self._to_server, self._to_us

    def are_the_servers(self) -> None:
        """Close here what the server has now."""
        for end in self.of_the_server:
            os.close(end)

    def say(self, line: str) -> None:
        """Send one line."""
        os.write(self.write, line.encode() + b"\n")

    def line(self) -> dict[str, Any]:
        """Wait for one line and return what it holds."""
        end = time.monotonic() + SECONDS
        while b"\n" not in self._unread:
            readable, _, _ = select.select([self.read], [], [], max(0, end - time.monotonic()))
            assert readable, f"no answer in {SECONDS:g} s"
            chunk = os.read(self.read, 65536)
            assert chunk, "the output has ended"
            self._unread += chunk
        text, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(text)
        return found


class StdioServers:
    """Servers, each under a name; all end with the context."""

    def __init__(self, faces: Mapping[str, str], url: str, *, folder: Path, variables: Mapping[str, str]) -> None:
        """Start a server for each of ``faces``, whose keys are the servers' names."""
        self.pipes = {name: Pipes() for name in faces}
        commands = [(name, ["mcp", faces[name], "--url", url], *self.pipes[name].of_the_server) for name in faces]
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, json.dumps(commands)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[end for pipes in self.pipes.values() for end in pipes.of_the_server],
            cwd=folder,
            env=dict(variables),
            text=True,
        )
        for pipes in self.pipes.values():
            pipes.are_the_servers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as ends:
            for pipes in self.pipes.values():
                ends.callback(os.close, pipes.read)
            self.end()

    def end(self) -> dict[str, int]:
        """Close their inputs, and return the exit status of each."""
        for pipes in self.pipes.values():
            if pipes.write >= 0:
                os.close(pipes.write)
                pipes.write = -1
        if self._process.stderr is None or self._process.stderr.closed:
            return {}
        try:
            _, told = self._process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        statuses: dict[str, int] = json.loads(told.splitlines()[-1])
        return statuses
