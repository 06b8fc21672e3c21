"""MCP servers for tests: stubs that start at once, one of the SDK, and real ones from PyPI and npm.

The real ones are installed once (:mod:`tests.support.locked`).
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from modelhost.tools.entry import HttpTransport, ServerEntry, StdioTransport
from modelhost.tools.hub import ToolHub
from tests.support.eventually import eventually
from tests.support.locked import node_modules, python_environment

HERE: Final = Path(__file__).parent
PYTHON_PEERS: Final = "mcp-peers"
NODE_PEERS: Final = "npm-peers"
NPM: Final = ("server-everything", "server-filesystem", "server-memory")


def stub(name: str = "stub", *, behaviour: dict[str, Any] | None = None, **fields: Any) -> ServerEntry:
    """A server of ``mcp_stub.py`` that behaves as told."""
    arguments = (str(HERE / "mcp_stub.py"), json.dumps(behaviour or {}))
    env = fields.pop("env", {})
    return ServerEntry(name=name, transport=StdioTransport(command=sys.executable, args=arguments, env=env), **fields)


def sdk_stdio(name: str = "sdk", **fields: Any) -> ServerEntry:
    """The server of ``mcp_sdk_server.py`` over pipes."""
    arguments = (str(HERE / "mcp_sdk_server.py"), "stdio")
    return ServerEntry(name=name, transport=StdioTransport(command=sys.executable, args=arguments), **fields)


def remote(url: str, name: str = "sdk", **fields: Any) -> ServerEntry:
    """A server at an address."""
    kind = "sse" if url.endswith("/sse") else "http"
    return ServerEntry(name=name, transport=HttpTransport(kind=kind, url=url), **fields)


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
        eventually(lambda: listens(port), seconds=20)
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


def typescript_sdk() -> tuple[str, Path]:
    """``node``, and the folder with the modules of the TypeScript SDK."""
    return _node(), node_modules(NODE_PEERS) / "@modelcontextprotocol" / "sdk" / "dist" / "esm"


def openai_for_node() -> tuple[str, Path]:
    """``node``, and the module of OpenAI's client."""
    return _node(), node_modules(NODE_PEERS) / "openai" / "index.mjs"


def node_peers() -> dict[str, tuple[str, str]]:
    """``node`` and the script of each server of npm."""
    scope = node_modules(NODE_PEERS) / "@modelcontextprotocol"
    return {name: (_node(), str(scope / name / "dist" / "index.js")) for name in NPM}


def python_peer(name: str) -> str:
    """The command of a server of PyPI, ``mcp-server-time`` or ``mcp-server-git``."""
    return str(python_environment(PYTHON_PEERS) / name)


def node_entry(peer: str, arguments: Iterable[str] = (), **fields: Any) -> ServerEntry:
    """A real server of npm."""
    node, script = node_peers()[peer]
    name = peer.removeprefix("server-")
    return ServerEntry(name=name, transport=StdioTransport(command=node, args=(script, *arguments)), **fields)


def python_entry(peer: str, arguments: Iterable[str] = (), **fields: Any) -> ServerEntry:
    """A real server of PyPI."""
    name = peer.removeprefix("mcp-server-")
    return ServerEntry(name=name, transport=StdioTransport(command=python_peer(peer), args=tuple(arguments)), **fields)


def _node() -> str:
    return shutil.which("node") or "node"  # it was there for the installation


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
