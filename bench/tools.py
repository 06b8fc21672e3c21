"""What tools cost: calls side by side, a call over the bare SDK's, a loop inside over one outside, many servers."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from openai import AsyncOpenAI

from bench.sides import Side, StartError, host
from modelhost.tools.entry import ServerEntry, StdioTransport
from modelhost.tools.hub import ToolHub

SERVER = Path(__file__).parent / "tool_server.py"
NAME = "tools"  # of the server, and so the prefix of its tools
WAIT_SECONDS = 0.2
WAITS = 3
STEPS = 5
SERVERS = 20
SLOWEST_SECONDS = 2.0
READY_SECONDS = 30.0
WARM_UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCosts:
    """Seconds, over all rounds. ``together`` is a request whose turn calls three tools of 200 ms."""

    together: tuple[float, ...]
    bare_call: tuple[float, ...]
    hub_call: tuple[float, ...]
    outside: tuple[float, ...]
    inside: tuple[float, ...]
    slowest: float
    """Until the slowest of the servers is ready, alone."""
    all_servers: float
    """Until all are."""

    @property
    def added_call_seconds(self) -> float:
        return statistics.median(self.hub_call) - statistics.median(self.bare_call)

    @property
    def loop_ratio(self) -> float:
        return statistics.median(self.inside) / statistics.median(self.outside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How often each is measured."""

    requests: int
    calls: int


def effort_of(*, quick: bool) -> Effort:
    return Effort(requests=5, calls=200) if quick else Effort(requests=20, calls=1000)


def measure_tools(log: Path, effort: Effort) -> ToolCosts:
    """Measure everything.

    Raises:
        StartError: the host, or a server of it, did not start.
    """
    with _host(log) as side:
        together, outside, inside = asyncio.run(_asked(side, effort.requests))
    bare, hub = asyncio.run(_called(effort.calls))
    slowest, everything = asyncio.run(_connected())
    return ToolCosts(
        together=tuple(together),
        bare_call=tuple(bare),
        hub_call=tuple(hub),
        outside=tuple(outside),
        inside=tuple(inside),
        slowest=slowest,
        all_servers=everything,
    )


@contextmanager
def _host(log: Path) -> Iterator[Side]:
    """A host with the scripted engine and one server."""
    with tempfile.TemporaryDirectory() as folder:
        config, script = Path(folder) / "mcp.json", Path(folder) / "script.json"
        config.write_text(json.dumps({"mcpServers": {NAME: {"command": sys.executable, "args": [str(SERVER)]}}}))
        wait = {"name": f"{NAME}_wait", "arguments": {"seconds": WAIT_SECONDS}}
        echo = {"name": f"{NAME}_echo", "arguments": {"text": "{turn}"}}
        rules = [
            {"match": "wait", "reply": "done", "tool_calls": [wait] * WAITS},
            {"match": "steps", "reply": "done", "tool_calls": [echo], "tool_turns": STEPS},
        ]
        script.write_text(json.dumps(rules))
        arguments = ["--engine", "scripted", "--alias", "scripted", "--mcp-config", str(config)]
        with host([*arguments, "--engine-option", f"script={script}"], log) as side:
            _wait_for_server(side)
            yield side


def _wait_for_server(side: Side) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        address = urlsplit(side.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=READY_SECONDS)
        try:
            connection.request("GET", "/v1/mcp/tools")
            if json.loads(connection.getresponse().read())["data"]:
                return
        finally:
            connection.close()
        time.sleep(0.05)
    raise StartError("the MCP server of the host was not ready in time")


async def _asked(side: Side, requests: int) -> tuple[list[float], list[float], list[float]]:
    """Requests with three calls in one turn; loops of five steps, outside and inside, in turns."""
    outside: list[float] = []
    inside: list[float] = []
    parameters = StdioServerParameters(command=sys.executable, args=[str(SERVER)])
    async with (
        AsyncOpenAI(base_url=f"{side.url}/v1", api_key=side.api_key or "none", max_retries=0) as model,
        Client(stdio_client(parameters), mode="legacy") as tools,
    ):
        own = [_function(tool) for tool in (await tools.list_tools()).tools]
        for number in range(requests + WARM_UP):
            taken = [
                (outside, await _timed(partial(_loop_outside, model, tools, own))),
                (inside, await _timed(partial(_said, model, "steps"))),
            ]
            if number < WARM_UP:
                continue
            for times, seconds in taken:
                times.append(seconds)
        together = [await _timed(partial(_said, model, "wait")) for _ in range(requests)]
    return together, outside, inside


async def _said(model: AsyncOpenAI, what: str) -> None:
    answer = await model.chat.completions.create(model="scripted", messages=[{"role": "user", "content": what}])
    if answer.choices[0].message.content != "done":
        raise StartError(f"the host answered {answer.choices[0]} instead of running the tools")


async def _loop_outside(model: AsyncOpenAI, tools: Client, own: Sequence[Any]) -> None:
    """The same, as a program does it that has a model here and tools there."""
    messages: list[Any] = [{"role": "user", "content": "steps"}]
    for _ in range(STEPS + 1):
        answer = await model.chat.completions.create(model="scripted", messages=messages, tools=own)
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls or ():
            function = call.function  # type: ignore[union-attr]
            name = function.name.removeprefix(f"{NAME}_")
            result = await tools.call_tool(name, json.loads(function.arguments))
            text = result.content[0].text  # type: ignore[union-attr]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text})
    if messages[-1].get("content") != "done":
        raise StartError(f"the loop outside ended with {messages[-1]}")


def _function(tool: Any) -> dict[str, Any]:
    function = {"name": f"{NAME}_{tool.name}", "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": function}


async def _called(calls: int) -> tuple[list[float], list[float]]:
    """The same call by the SDK's client and by the hub, in turns."""
    parameters = StdioServerParameters(command=sys.executable, args=[str(SERVER)])
    bare: list[float] = []
    through: list[float] = []
    hub = ToolHub([_entry(NAME, 0.0)])
    await hub.start()
    try:
        await hub.settled(READY_SECONDS)
        async with Client(stdio_client(parameters), mode="legacy") as client:
            await client.list_tools()
            for number in range(calls + WARM_UP):
                arguments = {"text": str(number)}
                bare.append(await _timed(partial(client.call_tool, "echo", arguments)))
                through.append(await _timed(partial(hub.call, f"{NAME}_echo", arguments)))
    finally:
        await hub.stop()
    return bare[WARM_UP:], through[WARM_UP:]


async def _connected() -> tuple[float, float]:
    """Until the slowest server is ready, and until all of them are."""
    seconds = [SLOWEST_SECONDS * (number + 1) / SERVERS for number in range(SERVERS)]
    found = []
    for entries in (
        [_entry("slowest", SLOWEST_SECONDS)],
        [_entry(f"s{number}", s) for number, s in enumerate(seconds)],
    ):
        hub = ToolHub(entries)
        began = time.perf_counter()
        await hub.start()
        try:
            await hub.settled(READY_SECONDS)
            found.append(time.perf_counter() - began)
            if len(hub.offered()) != 2 * len(entries):
                raise StartError(f"of {len(entries)} MCP servers not all became ready")
        finally:
            await hub.stop()
    return found[0], found[1]


def _entry(name: str, seconds: float) -> ServerEntry:
    transport = StdioTransport(command=sys.executable, args=(str(SERVER), str(seconds)))
    return ServerEntry(name=name, transport=transport, protocol="legacy")


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began
