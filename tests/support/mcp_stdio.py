"""``modelhost mcp`` as a process, and a client of its pipes that sends lines and reads lines, whatever they hold."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil

from tests.support.processes import MARK, Family

ANSWER_SECONDS: Final = 60.0
SCRIPTED: Final = {"MODELHOST_ENGINE": "scripted", "MODELHOST_ALIAS": "scripted"}
"""For a host of its own with the scripted engine."""


def command(*arguments: str) -> list[str]:
    """``modelhost ARGUMENTS``."""
    return [sys.executable, "-m", "modelhost", *arguments]


def own_host(folder: Path, **settings: Any) -> list[str]:
    """The options of a server that is a host of its own; it keeps its data in ``folder``."""
    path = folder / "own.json"
    path.write_text(json.dumps({"data_dir": str(folder / "data"), "threads": 1, **settings}), "utf-8")
    return ["--config", str(path)]


def environment(**variables: str) -> dict[str, str]:
    """That of this process, without what would lead a server to a host, and with ``variables``."""
    foreign = ("MODELHOST_", "VLLM_")
    return {key: value for key, value in os.environ.items() if not key.startswith(foreign)} | variables


class StdioServer(Family):
    """``modelhost mcp ARGUMENTS`` whose pipes are held here. Its standard error is read by nobody."""

    def __init__(self, *arguments: str, cwd: Path, **variables: str) -> None:
        self._mark = os.urandom(8).hex()
        self.process = subprocess.Popen(
            command("mcp", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(**variables), MARK: self._mark},
            cwd=cwd,
            start_new_session=True,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self._number = 0
        self._read = b""

    def close(self) -> None:
        """End it, with all that it started."""
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()
        for pipe in (self.stdin, self.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def say(self, line: str | Mapping[str, Any]) -> None:
        """Send one line."""
        self.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self.stdin.flush()

    def line(self, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Wait for one line and return what it holds."""
        end = time.monotonic() + seconds
        while b"\n" not in self._read:
            readable, _, _ = select.select([self.stdout], [], [], max(0, end - time.monotonic()))
            assert readable, f"no answer in {seconds:g} s"
            chunk = os.read(self.stdout.fileno(), 65536)
            assert chunk, "the output has ended"
            self._read += chunk
        text, _, self._read = self._read.partition(b"\n")
        found: dict[str, Any] = json.loads(text)
        return found

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and return the next line, which has to be its answer."""
        self._number += 1
        self.say({"jsonrpc": "2.0", "id": self._number, "method": method, **({"params": params} if params else {})})
        answer = self.line()
        assert answer.get("id") == self._number, answer
        return answer

    def greet(self, version: str = "2025-11-25", name: str = "a test") -> dict[str, Any]:
        """Shake hands."""
        client = {"name": name, "version": "1"}
        answer = self.ask("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": client})
        self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of a tool."""
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def chat(self, text: str, **arguments: Any) -> str:
        """The answer of the model, as text."""
        result = self.call("chat_completion", messages=[{"role": "user", "content": text}], **arguments)
        assert not result["isError"], result
        said: str = result["content"][0]["text"]
        return said


@contextmanager
def stdio_server(*arguments: str, cwd: Path, **variables: str) -> Iterator[StdioServer]:
    """A server that is ended with the context, with all that it started."""
    server = StdioServer(*arguments, cwd=cwd, **variables)
    try:
        yield server
    finally:
        server.close()
