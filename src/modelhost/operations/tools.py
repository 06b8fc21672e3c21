"""The operations on tools, MCP servers and their questions: lists, calls, connecting, disconnecting and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from modelhost.errors import (
    InvalidAnswer,
    McpServerNotFound,
    ModelhostError,
    NotFound,
    ToolNotFound,
    ToolServerUnavailable,
)
from modelhost.operations.operation import HttpRoute, NoParameters, OnProgress, Operation, Parameters, Result
from modelhost.tools.callbacks import ApprovalRequest, CallContext, ElicitationAnswer
from modelhost.tools.entry import Approval
from modelhost.tools.outcome import FailureCode
from modelhost.tools.status import ServerReport, ServerState

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.tools.catalogue import OfferedTool
    from modelhost.tools.hub import ToolHub

ServerName = Annotated[str, Field(min_length=1, description="An MCP server: its name in `mcp.json`.")]


class OneServer(Parameters):
    """An MCP server."""

    name: ServerName


class ServerList(Result):
    """All MCP servers, in the order of the configuration."""

    object: Literal["list"] = "list"
    data: list[ServerReport]
    config: str | None = Field(description="The file that lists the servers; `null` if there is none.")
    config_error: str | None = Field(
        description="Why the current contents of the file are not in force; the previous ones are."
    )


async def _list_servers(host: Host, _parameters: NoParameters, _on_progress: OnProgress) -> ServerList:
    toolbox = host.toolbox
    return ServerList(
        data=list(host.tools.statuses()),
        config=None if toolbox.path is None else str(toolbox.path),
        config_error=toolbox.file_error,
    )


_EXAMPLE: Final = {
    "name": "weather",
    "state": "ready",
    "transport": "stdio",
    "tools": 1,
    "tool_problems": [
        {
            "tool": "radar",
            "location": "#/inputSchema/properties/area/type",
            "message": "'str' is none of array, boolean, integer, null, number, object, string",
            "is_offered": False,
        }
    ],
    "protocol_version": "2026-07-28",
    "server_name": "mcp-weather",
    "server_version": "1.4.0",
    "instructions": None,
    "restarts": 0,
    "last_error": None,
    "why_disabled": None,
    "pid": 4711,
    "in_flight": 0,
    "calls": 12,
    "failed_calls": 1,
    "latency_p50_seconds": 0.21,
    "latency_last_seconds": 0.19,
    "connect_seconds": 0.64,
    "ready_since": 1767225600.0,
    "stderr": ["weather: listening"],
}
_EXAMPLE_DISCONNECTED: Final = {
    **_EXAMPLE,
    "protocol_version": None,
    "server_name": None,
    "server_version": None,
    "pid": None,
    "ready_since": None,
}
LIST_SERVERS: Final = Operation(
    name="list-tool-servers",
    summary="Show the status of MCP servers",
    work=_list_servers,
    route=HttpRoute(method="GET", path="/v1/mcp/servers"),
    command="servers",
    area="tools",
    answer={"object": "list", "data": [_EXAMPLE], "config": "/srv/mcp.json", "config_error": None},
)


def _on_one_server(
    command: str,
    summary: str,
    change: Callable[[ToolHub, str], Awaitable[None]],
    *,
    state: ServerState = ServerState.CONNECTING,
    errors: tuple[type[ModelhostError], ...] = (McpServerNotFound, ToolServerUnavailable),
) -> Operation[OneServer, ServerReport]:
    """Return the operation that makes ``change`` to a server and reports on it; ``state`` is that of the example."""

    async def work(host: Host, parameters: OneServer, _on_progress: OnProgress) -> ServerReport:
        await change(host.tools, parameters.name)
        return host.tools.status(parameters.name)

    return Operation(
        name=f"{command}-tool-server",
        summary=summary,
        work=work,
        route=HttpRoute(method="POST", path=f"/v1/mcp/servers/{{name}}/{command}"),
        command=command,
        area="tools",
        errors=errors,
        audited=("name",),
        example={"name": "weather"},
        answer={**_EXAMPLE_DISCONNECTED, "state": state.value},
    )


RESTART: Final = _on_one_server("restart", "Reconnect an MCP server", lambda hub, name: hub.restart(name))
ENABLE: Final = _on_one_server(
    "enable", "Enable an MCP server until its entry in the file changes", lambda hub, name: hub.enable(name)
)
DISABLE: Final = _on_one_server(
    "disable",
    "Disable an MCP server until its entry in the file changes",
    lambda hub, name: hub.disable(name),
    state=ServerState.DISABLED,
    errors=(McpServerNotFound,),
)


class OfServer(Parameters):
    """One MCP server, or all."""

    server: ServerName | None = Field(default=None, description="Only this MCP server. Default: all.")


class CallParameters(Parameters):
    """A tool, and what to call it with."""

    name: str = Field(
        min_length=1, description="The tool: its name for models, `server.tool`, or its own name if it is unique."
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="The arguments, as described by the tool's `parameters`."
    )


class Function(Result):
    """A tool as models see it."""

    name: str
    description: str
    parameters: dict[str, Any] = Field(description="JSON schema of the arguments.")


class ToolCard(Result):
    """One tool: an element of `tools` in OpenAI's shape, with what the host knows besides."""

    type: Literal["function"] = "function"
    function: Function
    server: str
    tool: str = Field(description="The tool's name on the server.")
    annotations: dict[str, Any] = Field(description="The server's annotations, such as `readOnlyHint`.")
    approval: Approval = Field(description="When its calls run: auto, read_only, ask or deny.")


class ToolList(Result):
    """The tools that can be called now."""

    object: Literal["list"] = "list"
    data: list[ToolCard]


class CallResult(Result):
    """What became of a call; a failed one too."""

    name: str
    server: str | None
    tool: str | None = Field(description="The tool's name on the server.")
    is_error: bool
    code: FailureCode | None = Field(description="The code of the failure.")
    text: str = Field(description="The result in the form for models, cut to a limit.")
    content: list[dict[str, Any]] = Field(description="The content blocks as the server sent them.")
    structured: Any = Field(default=None, description="The structured content, if there is any.")
    seconds: float
    was_cut: bool = Field(description="Whether `text` is incomplete.")
    was_retried: bool = Field(description="Whether the server was lost before the call was sent.")


async def _list_tools(host: Host, parameters: OfServer, _on_progress: OnProgress) -> ToolList:
    hub = host.tools
    if parameters.server is not None:
        hub.status(parameters.server)  # raises if there is none
    offered = [tool for tool in hub.offered() if parameters.server in {None, tool.server}]
    return ToolList(data=[_card(tool) for tool in offered])


def _card(tool: OfferedTool) -> ToolCard:
    return ToolCard(
        function=Function.model_validate(tool.function["function"]),
        server=tool.server,
        tool=tool.tool,
        annotations=dict(tool.annotations),
        approval=tool.approval,
    )


async def _agrees(request: ApprovalRequest) -> bool:
    """Approve the call, which the caller requested, but nothing that the server requests."""
    return request.kind == "tool"


async def _call(host: Host, parameters: CallParameters, _on_progress: OnProgress) -> CallResult:
    hub = host.tools
    tool = hub.tool(parameters.name)
    outcome = await hub.call(tool.name, parameters.arguments, CallContext(approve=_agrees))
    return CallResult.model_validate(outcome, from_attributes=True)


LIST_TOOLS: Final = Operation(
    name="list-tools",
    summary="List the tools of the MCP servers",
    work=_list_tools,
    route=HttpRoute(method="GET", path="/v1/mcp/tools"),
    command="list",
    area="tools",
    errors=(McpServerNotFound,),
    audited=("server",),
    example={"server": "weather"},
    answer={
        "object": "list",
        "data": [
            {
                "type": "function",
                "function": {
                    "name": "weather_forecast",
                    "description": "The weather of the next days.",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                },
                "server": "weather",
                "tool": "forecast",
                "annotations": {"readOnlyHint": True, "title": "Forecast"},
                "approval": "auto",
            }
        ],
    },
)
CALL: Final = Operation(
    name="call-tool",
    summary="Call a tool of an MCP server",
    work=_call,
    route=HttpRoute(method="POST", path="/v1/mcp/tools/{name}/call"),
    command="call",
    area="tools",
    errors=(ToolNotFound,),
    audited=("name",),
    example={"name": "weather_forecast", "arguments": {"city": "Paris"}},
    answer={
        "name": "weather_forecast",
        "server": "weather",
        "tool": "forecast",
        "is_error": False,
        "code": None,
        "text": "Sunny, 24 degrees.",
        "content": [{"type": "text", "text": "Sunny, 24 degrees."}],
        "structured": None,
        "seconds": 0.19,
        "was_cut": False,
        "was_retried": False,
    },
)


QuestionId = Annotated[str, Field(min_length=1, description="The `id` of a `modelhost.question` on a stream.")]


class ApprovalParameters(Parameters):
    """The answer to whether a call may run."""

    id: QuestionId
    approve: bool | None = Field(description="Whether the call may run; `null` dismisses the question.")


class ElicitationParameters(Parameters):
    """The answer to what an MCP server wants to know."""

    id: QuestionId
    action: Literal["accept", "decline", "cancel"]
    content: dict[str, str | int | float | bool | list[str] | None] | None = Field(
        default=None, description="With `accept`: values for the fields of the question's `schema`."
    )


class Answered(Result):
    """An answer that was taken."""

    success: bool
    id: str


async def _approve(host: Host, parameters: ApprovalParameters, _on_progress: OnProgress) -> Answered:
    host.questions.answer_approval(parameters.id, is_approved=parameters.approve)
    return Answered(success=True, id=parameters.id)


async def _answer(host: Host, parameters: ElicitationParameters, _on_progress: OnProgress) -> Answered:
    host.questions.answer_elicitation(
        parameters.id, ElicitationAnswer(action=parameters.action, content=parameters.content)
    )
    return Answered(success=True, id=parameters.id)


APPROVE: Final = Operation(
    name="answer-approval",
    summary="Approve or deny a tool call",
    work=_approve,
    route=HttpRoute(method="POST", path="/v1/mcp/approvals/{id}"),
    area="tools",
    errors=(NotFound,),
    audited=("id", "approve"),
    example={"id": "k3Jv0bq2xTfW9sYh", "approve": True},
    answer={"success": True, "id": "k3Jv0bq2xTfW9sYh"},
)
ANSWER: Final = Operation(
    name="answer-elicitation",
    summary="Answer a question of an MCP server",
    work=_answer,
    route=HttpRoute(method="POST", path="/v1/mcp/elicitations/{id}"),
    area="tools",
    errors=(NotFound, InvalidAnswer),
    audited=("id", "action"),
    example={"id": "k3Jv0bq2xTfW9sYh", "action": "accept", "content": {"city": "Paris"}},
    answer={"success": True, "id": "k3Jv0bq2xTfW9sYh"},
)
