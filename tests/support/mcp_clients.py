"""Programs that are MCP clients, run in environments that this one has not: each prints what it saw as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.locked import python_environment
from tests.support.mcp_peers import typescript_sdk

SECONDS: Final = 90
PYTHON_CLIENT: Final = """
import asyncio, contextlib, json, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

@contextlib.asynccontextmanager
async def connected(server, cwd, env):
    if isinstance(server, str):
        async with streamable_http_client(server) as (read, write, _):
            yield read, write
    else:
        parameters = StdioServerParameters(command=server[0], args=server[1:], cwd=cwd, env=env)
        async with stdio_client(parameters) as streams:
            yield streams

async def main(server, cwd, env):
    told = []
    async def note(progress, total, message):
        told.append(message)
    async with connected(server, cwd, env) as streams, ClientSession(*streams) as client:
        hello = await client.initialize()
        await client.send_ping()
        tools = (await client.list_tools()).tools
        templates = (await client.list_resource_templates()).resourceTemplates
        resources = [str(found.uri) for found in (await client.list_resources()).resources]
        arguments = {"messages": [{"role": "user", "content": "/slow 100 /echo one two three"}]}
        answer = await client.call_tool("chat_completion", arguments, progress_callback=note)
        refused = await client.call_tool("chat_completion", {**arguments, "model": "none"})
        config = await client.read_resource("model://scripted/config")
    print(json.dumps({
        "version": hello.protocolVersion,
        "tools": [tool.name for tool in tools],
        "templates": [template.uriTemplate for template in templates],
        "resources": resources,
        "text": answer.content[0].text,
        "structured": answer.structuredContent,
        "told": told,
        "refused": [refused.isError, refused.structuredContent],
        "config": json.loads(config.contents[0].text),
    }))

asyncio.run(main(*json.loads(sys.argv[1])))
"""
NODE_CLIENT: Final = """
import { pathToFileURL } from "node:url";
const [sdk, server, cwd, env] = JSON.parse(process.argv[2]);
const module = (name) => import(pathToFileURL(`${sdk}/client/${name}.js`).href);
const { Client } = await module("index");
const { StdioClientTransport } = await module("stdio");
const { StreamableHTTPClientTransport } = await module("streamableHttp");
const client = new Client({ name: "a test", version: "1" });
await client.connect(typeof server === "string"
  ? new StreamableHTTPClientTransport(new URL(server))
  : new StdioClientTransport({ command: server[0], args: server.slice(1), cwd, env, stderr: "ignore" }));
await client.ping();
const tools = (await client.listTools()).tools;
const templates = (await client.listResourceTemplates()).resourceTemplates;
const resources = (await client.listResources()).resources;
const told = [];
const asked = { messages: [{ role: "user", content: "/slow 100 /echo one two three" }] };
const onprogress = (progress) => told.push(progress.message);
const answer = await client.callTool({ name: "chat_completion", arguments: asked }, undefined, { onprogress });
const refused = await client.callTool({ name: "chat_completion", arguments: { ...asked, model: "none" } });
const config = await client.readResource({ uri: "model://scripted/config" });
console.log(JSON.stringify({
  version: client.getServerVersion().name,
  tools: tools.map((tool) => tool.name),
  templates: templates.map((template) => template.uriTemplate),
  resources: resources.map((resource) => resource.uri),
  text: answer.content[0].text,
  structured: answer.structuredContent,
  told,
  refused: [refused.isError, refused.structuredContent],
  config: JSON.parse(config.contents[0].text),
}));
await client.close();
"""


Server = Sequence[str] | str
"""The command of a server over stdio, or the address of one."""


def seen_by_old_sdk(server: Server, cwd: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """What a client of the SDK's version 1 sees of ``server``."""
    python = python_environment("mcp-old-sdk") / "python"
    return _printed([str(python), "-c", PYTHON_CLIENT, json.dumps([_plain(server), str(cwd), dict(env)])])


def seen_by_typescript_sdk(server: Server, cwd: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """The same of a client of the TypeScript SDK."""
    node, sdk = typescript_sdk()
    script = cwd / "client.mjs"
    script.write_text(NODE_CLIENT, "utf-8")
    return _printed([node, str(script), json.dumps([str(sdk), _plain(server), str(cwd), dict(env)])])


def _plain(server: Server) -> str | list[str]:
    return server if isinstance(server, str) else list(server)


def _printed(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
