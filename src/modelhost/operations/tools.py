"""The operations on tools: their list, and calling one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from modelhost.errors import McpServerNotFound, ToolNotFound
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Result
from modelhost.operations.tool_servers import ServerName
from modelhost.tools.callbacks import ApprovalRequest, CallContext
from modelhost.tools.entry import Approval
from modelhost.tools.outcome import FailureCode

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.tools.catalogue import OfferedTool


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
    parameters=OfServer,
    result=ToolList,
    work=_list_tools,
    route=HttpRoute(method="GET", path="/v1/mcp/tools"),
    command="list",
    is_read_only=True,
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
    parameters=CallParameters,
    result=CallResult,
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
