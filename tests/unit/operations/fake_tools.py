"""A host with MCP servers in memory: what the operations on tools need of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelhost.chat.tools.questions import Questions
from modelhost.errors import McpServerNotFound, ToolNotFound, ToolServerUnavailable
from modelhost.tools.callbacks import CallContext
from modelhost.tools.catalogue import OfferedTool
from modelhost.tools.content import Prompt
from modelhost.tools.outcome import ToolOutcome
from modelhost.tools.status import PromptCard, PromptField, ResourceCard, ResourceText, ServerReport, ServerState
from tests.unit.operations.fake_host import FakeHost


def server_status(name: str, state: ServerState = ServerState.READY, **more: Any) -> ServerReport:
    known: dict[str, Any] = {
        "transport": "stdio",
        "tools": 1,
        "tool_problems": (),
        "protocol_version": "2025-11-25",
        "server_name": None,
        "server_version": None,
        "instructions": None,
        "restarts": 0,
        "last_error": None,
        "why_disabled": None,
        "pid": None,
        "in_flight": 0,
        "calls": 3,
        "failed_calls": 0,
        "latency_p50_seconds": 0.25,
        "latency_last_seconds": 0.25,
        "connect_seconds": 0.5,
        "ready_since": None,
        "stderr": (),
    }
    return ServerReport(name=name, state=state, **{**known, **more})


def offered(server: str, tool: str, **more: Any) -> OfferedTool:
    name = f"{server}_{tool}"
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "count": {"type": "integer"}}}
    function = {"name": name, "description": f"Does {tool}.\nAnd more.", "parameters": schema}
    known: dict[str, Any] = {"annotations": {}, "is_read_only": False, "approval": "auto"}
    return OfferedTool(
        name=name, server=server, tool=tool, function={"type": "function", "function": function}, **{**known, **more}
    )


class FakeReading:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def resources(self, server: str) -> tuple[ResourceCard, ...]:
        self._check(server)
        return (
            ResourceCard(
                server=server,
                uri=f"{server}://all",
                name="all",
                title=None,
                description=None,
                media_type="text/plain",
                size=None,
                is_template=False,
            ),
        )

    async def resource(self, server: str, uri: str) -> tuple[ResourceText, ...]:
        self._check(server)
        return (ResourceText(uri=uri, media_type="text/plain", text="all of it", blob=None),)

    async def prompts(self, server: str) -> tuple[PromptCard, ...]:
        self._check(server)
        argument = PromptField(name="city", description=None, is_required=True)
        return (PromptCard(server=server, name="pack", title=None, description=None, arguments=[argument]),)

    async def prompt(self, server: str, name: str, arguments: Mapping[str, str]) -> Prompt:
        self._check(server)
        return Prompt(description=None, messages=({"role": "user", "content": f"{name} {arguments['city']}"},))

    def _check(self, server: str) -> None:
        if server in self._hub.silent:
            raise ToolServerUnavailable(f"{server} is silent", server=server)
        self._hub.status(server)


class FakeHub:
    """Does at once what it is told."""

    def __init__(self, *servers: ServerReport, tools: tuple[OfferedTool, ...] = ()) -> None:
        self.servers = {server.name: server for server in servers}
        self.tools = {tool.name: tool for tool in tools}
        self.silent: set[str] = set()
        self.called: list[tuple[str, Any, CallContext]] = []
        self.outcome: dict[str, Any] = {"text": "done", "content": ({"type": "text", "text": "done"},)}
        self.reading = FakeReading(self)

    def statuses(self) -> tuple[ServerReport, ...]:
        return tuple(self.servers.values())

    def status(self, name: str) -> ServerReport:
        if name not in self.servers:
            raise McpServerNotFound(f'no MCP server is called "{name}"', server=name)
        return self.servers[name]

    async def restart(self, name: str) -> None:
        self._change(name, ServerState.CONNECTING)

    async def enable(self, name: str) -> None:
        self._change(name, ServerState.CONNECTING)

    async def disable(self, name: str) -> None:
        self._change(name, ServerState.DISABLED)

    def _change(self, name: str, state: ServerState) -> None:
        known = self.status(name)
        if known.why_disabled is not None:
            raise ToolServerUnavailable(known.why_disabled, server=name)
        self.servers[name] = known.model_copy(update={"state": state})

    def offered(self) -> tuple[OfferedTool, ...]:
        return tuple(self.tools.values())

    def tool(self, name: str) -> OfferedTool:
        if name not in self.tools:
            raise ToolNotFound(f'no MCP server has a tool "{name}"', tool=name)
        return self.tools[name]

    async def call(self, name: str, arguments: Mapping[str, Any], context: CallContext) -> ToolOutcome:
        self.called.append((name, arguments, context))
        tool = self.tool(name)
        return ToolOutcome(name=name, server=tool.server, tool=tool.tool, seconds=0.5, **self.outcome)


class FakeToolbox:
    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.path: Path | None = Path("/srv/mcp.json")
        self.file_error: str | None = None


class FakeToolHost(FakeHost):
    """With two servers: ``one``, which is ready and has two tools, and ``two``, which has failed."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        tools = (
            offered("one", "echo", annotations={"readOnlyHint": True}, approval="read_only"),
            offered("one", "add/up", approval="ask"),
        )
        one = server_status("one", tools=2)
        two = server_status("two", ServerState.FAILED, tools=0, last_error="exited with status 1")
        self.toolbox = FakeToolbox(FakeHub(one, two, tools=tools))
        self.tools, self.readings = self.toolbox.hub, self.toolbox.hub.reading
        self.questions = Questions(seconds=5)
