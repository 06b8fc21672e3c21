"""A client that does what Crush's source does, where its binary cannot be had: its configuration, its MCP clients (the
TypeScript SDK's place is taken by the Python one), and its way with an OpenAI endpoint.

Source: https://github.com/charmbracelet/crush, ``internal/agent/tools/mcp`` and ``internal/agent``.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

PING_SECONDS = 5.0
CONNECT_SECONDS = 10.0  # its default timeout of a server


@dataclass(kw_only=True)
class Crush:
    """The clients of the servers in ``mcp``, and the functions that the model gets."""

    clients: dict[str, Client] = field(default_factory=dict)
    tools: dict[str, tuple[str, str]] = field(default_factory=dict)
    schemas: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Call ``mcp_{server}_{tool}``: first a ping, as it does to find a dead session."""
        server, tool = self.tools[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer protocols have none, but it speaks none of those
            async with asyncio.timeout(PING_SECONDS):
                await self.clients[server].send_ping()
        return await self.clients[server].call_tool(tool, dict(arguments))


@asynccontextmanager
async def crush(servers: Mapping[str, Mapping[str, Any]], env: Mapping[str, str]) -> AsyncIterator[Crush]:
    """All servers of a ``crush.json`` connected, each within its time; only the first page of tools is read."""
    async with AsyncExitStack() as stack:
        started = Crush()
        for name, server in servers.items():
            async with asyncio.timeout(server.get("timeout", CONNECT_SECONDS)):
                client = await stack.enter_async_context(Client(_transport(server, env), mode="legacy"))
                listed = await client.list_tools()
            started.clients[name] = client
            for tool in listed.tools:
                called = f"mcp_{name}_{tool.name}"
                started.tools[called] = (name, tool.name)
                function = {"name": called, "description": tool.description, "parameters": tool.input_schema}
                started.schemas.append({"type": "function", "function": function})
        yield started


def _transport(server: Mapping[str, Any], env: Mapping[str, str]) -> Any:
    if server["type"] == "http":
        return server["url"]
    command = StdioServerParameters(
        command=server["command"], args=list(server.get("args", ())), env={**env, **server.get("env", {})}
    )
    return stdio_client(command)


@dataclass(kw_only=True)
class Turn:
    """What came of one streamed request."""

    text: str = ""
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    finish_reason: str | None = None


async def streamed(provider: Mapping[str, Any], model: str, messages: list[Any], tools: list[Any]) -> Turn:
    """One turn of its agent: streamed, with usage, the tool calls put together by their index."""
    turn = Turn()
    body = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        **({"tools": tools, "tool_choice": "auto"} if tools else {}),
    }
    headers = {"Authorization": f"Bearer {provider['api_key']}"}
    async with (
        httpx2.AsyncClient(base_url=provider["base_url"], headers=headers, timeout=60, trust_env=False) as http,
        http.stream("POST", "/chat/completions", json=body) as answer,
    ):
        assert answer.status_code == httpx2.codes.OK, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                _add(turn, json.loads(line.removeprefix("data: ")))
    return turn


def _add(turn: Turn, chunk: Mapping[str, Any]) -> None:
    turn.usage = chunk.get("usage") or turn.usage
    for choice in chunk.get("choices", ()):
        delta = choice["delta"]
        turn.text += delta.get("content") or ""
        turn.finish_reason = choice.get("finish_reason") or turn.finish_reason
        for piece in delta.get("tool_calls") or ():
            call = turn.calls.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
            call["id"] = piece.get("id") or call["id"]
            call["name"] += piece["function"].get("name") or ""
            call["arguments"] += piece["function"].get("arguments") or ""
