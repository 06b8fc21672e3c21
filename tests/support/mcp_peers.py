"""MCP servers for tests: stubs that start at once, one of the SDK, and real ones from PyPI and npm.

The real ones are installed once, into a folder that git ignores; they need the network for that.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from modelhost.tools.entry import Process, Remote, ServerEntry
from modelhost.tools.hub import ToolHub
from tests.support.eventually import eventually

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parents[1] / ".venv-mcp-peers"
PYPI: Final = ("mcp-server-time", "mcp-server-git")
OLD_SDK: Final = ("mcp==1.30.*",)
FLUIDMCP: Final = ("fluidmcp==0.1.0", "fastapi", "uvicorn")  # it does not say that it needs the last two
NPM: Final = ("server-everything", "server-filesystem", "server-memory")
INSTALL_SECONDS: Final = 300


def stub(name: str = "stub", *, behaviour: dict[str, Any] | None = None, **fields: Any) -> ServerEntry:
    """A server of ``mcp_stub.py`` that behaves as told."""
    arguments = (str(HERE / "mcp_stub.py"), json.dumps(behaviour or {}))
    env = fields.pop("env", {})
    return ServerEntry(name=name, transport=Process(command=sys.executable, args=arguments, env=env), **fields)


def sdk_stdio(name: str = "sdk", **fields: Any) -> ServerEntry:
    """The server of ``mcp_sdk_server.py`` over pipes."""
    arguments = (str(HERE / "mcp_sdk_server.py"), "stdio")
    return ServerEntry(name=name, transport=Process(command=sys.executable, args=arguments), **fields)


def remote(url: str, name: str = "sdk", **fields: Any) -> ServerEntry:
    """A server at an address."""
    kind = "sse" if url.endswith("/sse") else "http"
    return ServerEntry(name=name, transport=Remote(kind=kind, url=url), **fields)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def sdk_http(transport: str, port: int) -> Iterator[str]:
    """The address of the server of ``mcp_sdk_server.py`` in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "mcp_sdk_server.py"), transport, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _listens(port), seconds=20)
        yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def hub_of(*entries: ServerEntry, seconds: float = 20.0, **options: Any) -> AsyncIterator[ToolHub]:
    """A started hub whose servers are settled."""
    hub = ToolHub(entries, **options)
    await hub.start()
    try:
        assert await hub.settled(seconds)
        yield hub
    finally:
        await hub.stop()


def install_python_peers() -> Path:
    """The ``bin`` folder with the servers of PyPI, in an environment of their own."""
    folder = CACHE / "python"
    if not all((folder / "bin" / name).exists() for name in PYPI):
        venv.create(folder, with_pip=True, clear=True)
        _install([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PYPI], folder)
    return folder / "bin"


def python_with(*packages: str, folder: str) -> Path:
    """A Python in an environment of its own with ``packages``."""
    place = CACHE / folder
    python, stamp = place / "bin" / "python", place / "installed"
    if not stamp.exists():
        venv.create(place, with_pip=True, clear=True)
        _install([str(python), "-m", "pip", "install", "--quiet", *packages], place)
        stamp.touch()
    return python


def typescript_sdk() -> tuple[str, Path]:
    """``node``, and the folder with the modules of the TypeScript SDK."""
    node, script = install_node_peers()["server-everything"]
    return node, Path(script).parents[2] / "sdk" / "dist" / "esm"


def install_node_peers() -> dict[str, tuple[str, str]]:
    """``node`` and the script of each server of npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail(
            "Node.js is not installed: the tests of real MCP servers need `node` and `npm` (version 20 or later)"
        )
    folder = CACHE / "npm"
    scripts = {name: folder / "node_modules" / "@modelcontextprotocol" / name / "dist" / "index.js" for name in NPM}
    if not all(script.exists() for script in scripts.values()):
        folder.mkdir(parents=True, exist_ok=True)
        packages = [f"@modelcontextprotocol/{name}" for name in NPM]
        _install([npm, "install", "--no-fund", "--no-audit", "--prefix", str(folder), *packages], folder)
    return {name: (node, str(script)) for name, script in scripts.items()}


def node_entry(peer: str, arguments: Iterable[str] = (), **fields: Any) -> ServerEntry:
    """A real server of npm."""
    node, script = install_node_peers()[peer]
    name = peer.removeprefix("server-")
    return ServerEntry(name=name, transport=Process(command=node, args=(script, *arguments)), **fields)


def python_entry(peer: str, arguments: Iterable[str] = (), **fields: Any) -> ServerEntry:
    """A real server of PyPI."""
    name = peer.removeprefix("mcp-server-")
    command = str(install_python_peers() / peer)
    return ServerEntry(name=name, transport=Process(command=command, args=tuple(arguments)), **fields)


def _install(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, check=False, timeout=INSTALL_SECONDS, capture_output=True, text=True, env=dict(os.environ)
    )
    if done.returncode != 0:
        pytest.fail(f"the real MCP servers could not be installed into {folder}:\n{done.stderr[-2000:]}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
