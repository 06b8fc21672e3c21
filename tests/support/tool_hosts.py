"""Served hosts with MCP servers, for tests of chat requests in which the host runs tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.support.eventually import eventually
from tests.support.serving import ServedHost

HERE = Path(__file__).parent
READY_SECONDS = 60.0  # a busy machine takes its time to start Python


def stub_server(**behaviour: Any) -> dict[str, Any]:
    """An entry of `mcp.json` for ``mcp_stub.py``."""
    return {"command": sys.executable, "args": [str(HERE / "mcp_stub.py"), json.dumps(behaviour)]}


def sdk_server() -> dict[str, Any]:
    """An entry of `mcp.json` for ``mcp_sdk_server.py``, of the protocol's newest version."""
    return {"command": sys.executable, "args": [str(HERE / "mcp_sdk_server.py"), "stdio"]}


def config(folder: Path, **servers: Mapping[str, Any]) -> str:
    """The path of an `mcp.json` with ``servers``."""
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}), "utf-8")
    return str(path)


def servers_of(host: ServedHost) -> dict[str, dict[str, Any]]:
    return {server["name"]: server for server in host.http.get("/v1/mcp/servers").json()["data"]}


def wait_for_tools(host: ServedHost, but: Collection[str] = ()) -> ServedHost:
    """Wait until all MCP servers of ``host`` are ready, ``but`` some."""

    def are_ready() -> bool:
        return all(server["state"] == "ready" for name, server in servers_of(host).items() if name not in but)

    eventually(are_ready, seconds=READY_SECONDS)
    return host


def tool_name(host: ServedHost, tool: str, server: str | None = None) -> str:
    """The name under which models know ``tool``."""
    for offered in host.http.get("/v1/mcp/tools").json()["data"]:
        if offered["tool"] == tool and server in (None, offered["server"]):
            name: str = offered["function"]["name"]
            return name
    raise AssertionError(f"no tool {tool}")


def scripted_host(start: Callable[..., ServedHost], folder: Path, script: Any = (), **settings: Any) -> ServedHost:
    """A host with the scripted engine; ``servers`` (default: one stub called ``stub``) are its MCP servers."""
    servers = settings.pop("servers", {"stub": stub_server()})
    options = {}
    if script:
        (folder / "script.json").write_text(json.dumps(script), "utf-8")
        options = {"engine_options": {"script": str(folder / "script.json")}}
    host = start(engine="scripted", alias=["scripted"], mcp_config=config(folder, **servers), **options, **settings)
    return wait_for_tools(host)


def calls(match: str, *wanted: tuple[str, Any], **reply: Any) -> dict[str, Any]:
    """A rule of a script: what is called for a message with ``match`` in it."""
    found = [{"name": name, "arguments": arguments} for name, arguments in wanted]
    return {"match": match, "tool_calls": found, **reply}


def chat(host: ServedHost, said: str, **fields: Any) -> dict[str, Any]:
    """A whole answer, as JSON."""
    answer = host.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": said}], **fields})
    found: dict[str, Any] = answer.json()
    assert answer.status_code == httpx2.codes.OK, found
    return found


def chunks(host: ServedHost, said: str, **fields: Any) -> list[dict[str, Any]]:
    """The chunks of a stream, as JSON."""
    body = {"messages": [{"role": "user", "content": said}], "stream": True, **fields}
    with host.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def told(found: list[dict[str, Any]], kind: str) -> list[Any]:
    """What the extension field ``modelhost.{kind}`` said."""
    return [chunk[f"modelhost.{kind}"] for chunk in found if f"modelhost.{kind}" in chunk]
