"""``modelhost serve --llm-server`` as a person starts it: a process in a directory with a ``config.json``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.support.eventually import eventually
from tests.support.mcp_peers import free_port, node_peers

START_SECONDS = 90.0
STOP_SECONDS = 30.0
CLIENT_SECONDS = 180.0
COMMAND = (sys.executable, "-m", "modelhost", "serve", "--llm-server")
# The same with a log file whose clock is as many seconds ahead as a file says.
COMMAND_OF_ANOTHER_DAY = (
    sys.executable,
    "-c",
    """
import functools, pathlib, sys, time
from modelhost.http import server
ahead = pathlib.Path("ahead")
server.serve = functools.partial(server.serve, clock=lambda: time.time() + float(ahead.read_text()))
from modelhost.cli.main import main
sys.exit(main(["serve", "--llm-server"]))
""",
)


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    """LLM-Server's config with its two servers' kinds: a filesystem and everything else; ``...`` leaves a key out."""
    peers = node_peers()
    files = folder / "files"
    files.mkdir(exist_ok=True)
    node, filesystem = peers["server-filesystem"]
    document = {
        "model name": "modelhost-nano",
        "listening port": free_port(),
        "servers": {
            "filesystem": {"type": "stdio", "command": node, "args": [filesystem, str(files)]},
            "everything": {"type": "stdio", "command": node, "args": [peers["server-everything"][1], "stdio"]},
        },
        "system prompt": "You are a helpful assistant.",
        "temperature": 0.7,
        "top_p": 0.9,
        "min_p": 0.05,
        "min_tokens_to_keep": 1,
        "log level": "trace",
        "log filename": str(folder / "server.log"),
        "threads": 1,
        **changes,
    }
    return {key: value for key, value in document.items() if value is not ...}


def write_config(folder: Path, document: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(document), "utf-8")


def environ(**more: str) -> dict[str, str]:
    """The environment without anything that is meant for modelhost."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("MODELHOST_")}
    own.pop("BRAVE_API_KEY", None)
    return {**own, **more}


class LlmServer:
    """A running one."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, port: int) -> None:
        self.process = process
        self.folder = folder
        self.port = port
        self.log_path = folder / "server.log"
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=CLIENT_SECONDS, trust_env=False)

    def ask(self, prompt: str) -> httpx2.Response:
        return self.http.post("/", json={"prompt": prompt})

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The lines of the log file, or those of these events."""
        return events_in(self.log_path, *names)

    def stop(self) -> int:
        """End it by SIGTERM; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def listens(self) -> bool:
        assert self.process.poll() is None, (self.folder / "stderr").read_text()
        return _answers(self.port)


def _answers(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


def events_in(path: Path, *names: str) -> list[dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []  # it has been put away, and the next one is not begun
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if not names or line["event"] in names]


@contextmanager
def llm_server(
    folder: Path,
    document: Mapping[str, Any],
    *,
    command: tuple[str, ...] = COMMAND,
    env: Mapping[str, str] | None = None,
) -> Iterator[LlmServer]:
    """A server that listens; it has ended when the context does."""
    write_config(folder, document)
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=folder, env=env or environ(), stdout=subprocess.DEVNULL, stderr=stderr, text=True
        )
    server = LlmServer(process, folder, document["listening port"])
    try:
        eventually(server.listens, seconds=START_SECONDS)
        yield server
    finally:
        server.http.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def refused(folder: Path, document: Mapping[str, Any], env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Start a server that cannot run; return its exit status and what it printed as an error."""
    write_config(folder, document)
    done = subprocess.run(
        COMMAND, cwd=folder, env=env or environ(), capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    return done.returncode, done.stderr
