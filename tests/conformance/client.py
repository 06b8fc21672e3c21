"""The command that the official conformance suite of MCP starts for each of its scenarios, to see what a client does.

What is tested is the host's own: a :class:`modelhost.tools.hub.ToolHub` with the scenario's server in it. The address
of the server is the last argument; ``MCP_CONFORMANCE_SCENARIO`` says what to do, ``MCP_CONFORMANCE_CONTEXT`` (JSON)
with what, and ``MCP_CONFORMANCE_PROTOCOL_VERSION`` which version of the protocol the server speaks.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from modelhost.tools.callbacks import (
    CallContext,
    ElicitationAnswer,
    ElicitationRequest,
    SamplingAnswer,
    SamplingRequest,
)
from modelhost.tools.catalogue import OfferedTool
from modelhost.tools.entry import HttpTransport, Protocol, SamplingPolicy, ServerEntry
from modelhost.tools.hub import ToolHub
from modelhost.tools.status import ServerState
from tests.conformance.authorization import provider_for

SERVER: Final = "suite"
READY_SECONDS: Final = 25.0  # the suite waits for 30 in all, unless told
ARGUMENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "add_numbers": {"a": 5, "b": 3},
}
EMPTY: Final[Mapping[str, Any]] = {
    "string": "x",
    "integer": 0,
    "number": 0,
    "boolean": False,
    "object": {},
    "array": [],
    "null": None,
}
"""What is called with where a scenario only wants to see a call."""
LISTING_ONLY: Final = frozenset({"initialize"})
HANDSHAKE_ONLY: Final = frozenset({"json-schema-ref-no-deref"})
"""Scenarios whose server shakes hands, whatever version the suite says that it speaks."""


class Model:
    """What writes for the servers that ask: nobody reads it."""

    async def sample(self, _: SamplingRequest) -> SamplingAnswer:
        return SamplingAnswer(text="", model="conformance")


async def agree(request: ElicitationRequest) -> ElicitationAnswer:
    """Say yes to everything; the host adds the defaults of a form."""
    confirmed = "confirmed" in request.schema.get("properties", {})
    return ElicitationAnswer(action="accept", content={"confirmed": True} if confirmed else {})


CONTEXT: Final = CallContext(elicit=agree)


def protocol_of(scenario: str) -> Protocol:
    version = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION")
    is_modern = version is None or version in MODERN_PROTOCOL_VERSIONS
    return "auto" if is_modern and scenario not in HANDSHAKE_ONLY else "legacy"


@asynccontextmanager
async def host(url: str, scenario: str, given: Mapping[str, Any]) -> AsyncIterator[ToolHub]:
    """A hub whose only server is ready.

    Raises:
        SystemExit: it did not become ready; says why.
    """
    auth = await provider_for(scenario, url, given) if scenario.startswith("auth/") else None
    entry = ServerEntry(
        name=SERVER,
        transport=HttpTransport(kind="http", url=url, auth=auth),
        prefix="",
        sampling=SamplingPolicy(mode="auto"),
        roots=("file:///srv",),
        protocol=protocol_of(scenario),
    )
    hub = ToolHub([entry], sampler=Model())
    await hub.start()
    try:
        await hub.settled(READY_SECONDS)
        status = hub.status(SERVER)
        if status.state is not ServerState.READY:
            sys.exit(f"the server is {status.state}: it {status.last_error}")
        yield hub
    finally:
        await hub.stop()


def calls_of(scenario: str, tools: tuple[OfferedTool, ...], given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What is called in ``scenario``, in this order: tools by their original names."""
    if scenario in LISTING_ONLY:
        return []
    if scenario == "http-custom-headers":
        known = {tool.tool for tool in tools}
        return [(call["name"], call.get("arguments") or {}) for call in given["toolCalls"] if call["name"] in known]
    if scenario == "json-schema-2020-12-preservation":
        schemas = {tool.tool: tool.function["function"]["parameters"] for tool in tools}
        return [("json_schema_echo", {"schema": schemas["json_schema_2020_12_tool"]})]
    return [(tool.tool, arguments_for(tool)) for tool in tools]


def arguments_for(tool: OfferedTool) -> Mapping[str, Any]:
    """Arguments that ``tool`` takes."""
    if tool.tool in ARGUMENTS:
        return ARGUMENTS[tool.tool]
    schema = tool.function["function"]["parameters"]
    properties = schema.get("properties", {})
    return {name: EMPTY.get(properties.get(name, {}).get("type"), "x") for name in schema.get("required", ())}


async def play(url: str, scenario: str, given: Mapping[str, Any]) -> None:
    """Do what the scenario wants to see. A call that fails is an outcome, here as everywhere."""
    async with host(url, scenario, given) as hub:
        tools = hub.offered()
        names = {tool.tool: tool.name for tool in tools}
        note(f"tools: {' '.join(names)}")
        for tool, arguments in calls_of(scenario, tools, given):
            outcome = await hub.call(names[tool], arguments, CONTEXT)
            note(f"{tool}: {outcome.code or 'ok'}: {outcome.text[:300]}")


def note(text: str) -> None:
    """Say something that the suite shows when a scenario fails."""
    sys.stderr.write(text + "\n")


def main() -> None:
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    given = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    asyncio.run(play(sys.argv[-1], scenario, given))


if __name__ == "__main__":
    main()
