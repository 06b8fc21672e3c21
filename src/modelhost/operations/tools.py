"""The operations on MCP servers and their tools."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from modelhost.errors import (
    InvalidAnswer,
    McpServerNotFound,
    NotFound,
    ToolCallFailed,
    ToolError,
    ToolNotFound,
    ToolServerUnavailable,
)
from modelhost.operations import tool_examples
from modelhost.operations.operation import AnyOperation, HttpRoute, NoParameters, OnProgress, Operation
from modelhost.operations.tool_host import Hub, ToolHost
from modelhost.operations.tool_values import (
    Answered,
    ApprovalParameters,
    CallParameters,
    CallResult,
    ElicitationParameters,
    FilledPrompt,
    Function,
    OfServer,
    OneServer,
    PromptCard,
    PromptList,
    PromptParameters,
    ResourceCard,
    ResourceContents,
    ResourceList,
    ResourceParameters,
    ResourceText,
    ServerList,
    ServerReport,
    ToolCard,
    ToolList,
)
from modelhost.tools.approval import ApprovalRequest
from modelhost.tools.context import CallContext, ElicitationAnswer
from modelhost.tools.status import ServerState, ServerStatus

if TYPE_CHECKING:
    from modelhost.tools.offered import OfferedTool

T = TypeVar("T")


async def _list_tools(host: ToolHost, asked: OfServer, _on_progress: OnProgress) -> ToolList:
    hub = host.tools
    if asked.server is not None:
        hub.status(asked.server)  # raises if there is none
    offered = [tool for tool in hub.offered() if asked.server in {None, tool.server}]
    return ToolList(data=[_card(tool) for tool in offered])


def _card(tool: OfferedTool) -> ToolCard:
    return ToolCard(
        function=Function.model_validate(tool.function["function"]),
        server=tool.server,
        tool=tool.tool,
        annotations=dict(tool.annotations),
        approval=tool.approval,
    )


async def _list_servers(host: ToolHost, _nothing: NoParameters, _on_progress: OnProgress) -> ServerList:
    toolbox = host.toolbox
    return ServerList(
        data=[_report(status) for status in host.tools.statuses()],
        config=None if toolbox.path is None else str(toolbox.path),
        config_error=toolbox.file_error,
    )


def _report(status: ServerStatus) -> ServerReport:
    return ServerReport.model_validate(status, from_attributes=True)


async def _restart(host: ToolHost, asked: OneServer, _on_progress: OnProgress) -> ServerReport:
    await host.tools.restart(asked.name)
    return _report(host.tools.status(asked.name))


async def _enable(host: ToolHost, asked: OneServer, _on_progress: OnProgress) -> ServerReport:
    await host.tools.enable(asked.name)
    return _report(host.tools.status(asked.name))


async def _disable(host: ToolHost, asked: OneServer, _on_progress: OnProgress) -> ServerReport:
    await host.tools.disable(asked.name)
    return _report(host.tools.status(asked.name))


async def _agrees(request: ApprovalRequest) -> bool:
    """Whoever asks for the call itself has agreed to it, but not to what the server may want besides."""
    return request.kind == "tool"


async def _call(host: ToolHost, asked: CallParameters, _on_progress: OnProgress) -> CallResult:
    hub = host.tools
    tool = hub.tool(asked.name)
    outcome = await hub.call(tool.name, asked.arguments, CallContext(approve=_agrees))
    return CallResult.model_validate(outcome, from_attributes=True)


async def _list_resources(host: ToolHost, asked: OfServer, _on_progress: OnProgress) -> ResourceList:
    hub = host.tools
    found, errors = await _of_servers(hub, asked.server, host.readings.resources)
    return ResourceList(data=[ResourceCard.model_validate(each, from_attributes=True) for each in found], errors=errors)


async def _read_resource(host: ToolHost, asked: ResourceParameters, _on_progress: OnProgress) -> ResourceContents:
    found = await host.readings.resource(asked.server, asked.uri)
    contents = [ResourceText.model_validate(each, from_attributes=True) for each in found]
    return ResourceContents(server=asked.server, contents=contents)


async def _list_prompts(host: ToolHost, asked: OfServer, _on_progress: OnProgress) -> PromptList:
    hub = host.tools
    found, errors = await _of_servers(hub, asked.server, host.readings.prompts)
    return PromptList(data=[PromptCard.model_validate(each, from_attributes=True) for each in found], errors=errors)


async def _get_prompt(host: ToolHost, asked: PromptParameters, _on_progress: OnProgress) -> FilledPrompt:
    prompt = await host.readings.prompt(asked.server, asked.name, asked.arguments)
    messages = [dict(message) for message in prompt.messages]
    return FilledPrompt(server=asked.server, name=asked.name, description=prompt.description, messages=messages)


async def _of_servers(
    hub: Hub, server: str | None, read: Callable[[str], Awaitable[Iterable[T]]]
) -> tuple[list[T], dict[str, str]]:
    """What ``server`` has, or all servers that are ready, side by side; then a failed one is named with its error."""
    if server is not None:
        return list(await read(server)), {}
    errors: dict[str, str] = {}

    async def read_or_note(name: str) -> Iterable[T]:
        try:
            return await read(name)
        except ToolError as error:
            errors[name] = error.message
            return ()

    names = [status.name for status in hub.statuses() if status.state is ServerState.READY]
    found = await asyncio.gather(*(read_or_note(name) for name in names))
    return [each for of_one in found for each in of_one], errors


async def _approve(host: ToolHost, asked: ApprovalParameters, _on_progress: OnProgress) -> Answered:
    host.questions.answer_approval(asked.id, is_approved=asked.approve)
    return Answered(success=True, id=asked.id)


async def _answer(host: ToolHost, asked: ElicitationParameters, _on_progress: OnProgress) -> Answered:
    host.questions.answer_elicitation(asked.id, ElicitationAnswer(action=asked.action, content=asked.content))
    return Answered(success=True, id=asked.id)


READING_ERRORS: Final = (McpServerNotFound, ToolServerUnavailable, ToolCallFailed)

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
    example=tool_examples.OF_SERVER,
    answer=tool_examples.TOOLS,
)
LIST_SERVERS: Final = Operation(
    name="list-tool-servers",
    summary="Say how each MCP server does",
    parameters=NoParameters,
    result=ServerList,
    work=_list_servers,
    route=HttpRoute(method="GET", path="/v1/mcp/servers"),
    command="servers",
    is_read_only=True,
    area="tools",
    example={},
    answer=tool_examples.SERVERS,
)
RESTART: Final = Operation(
    name="restart-tool-server",
    summary="Connect an MCP server anew, a failed one too",
    parameters=OneServer,
    result=ServerReport,
    work=_restart,
    route=HttpRoute(method="POST", path="/v1/mcp/servers/{name}/restart"),
    command="restart",
    is_read_only=False,
    area="tools",
    errors=(McpServerNotFound, ToolServerUnavailable),
    audited=("name",),
    example=tool_examples.SERVER,
    answer=tool_examples.CONNECTING,
)
ENABLE: Final = Operation(
    name="enable-tool-server",
    summary="Connect a disabled MCP server, until its entry in the file changes",
    parameters=OneServer,
    result=ServerReport,
    work=_enable,
    route=HttpRoute(method="POST", path="/v1/mcp/servers/{name}/enable"),
    command="enable",
    is_read_only=False,
    area="tools",
    errors=(McpServerNotFound, ToolServerUnavailable),
    audited=("name",),
    example=tool_examples.SERVER,
    answer=tool_examples.CONNECTING,
)
DISABLE: Final = Operation(
    name="disable-tool-server",
    summary="End an MCP server, until its entry in the file changes",
    parameters=OneServer,
    result=ServerReport,
    work=_disable,
    route=HttpRoute(method="POST", path="/v1/mcp/servers/{name}/disable"),
    command="disable",
    is_read_only=False,
    area="tools",
    errors=(McpServerNotFound,),
    audited=("name",),
    example=tool_examples.SERVER,
    answer=tool_examples.DISABLED,
)
CALL: Final = Operation(
    name="call-tool",
    summary="Call a tool of an MCP server",
    parameters=CallParameters,
    result=CallResult,
    work=_call,
    route=HttpRoute(method="POST", path="/v1/mcp/tools/{name}/call"),
    command="call",
    is_read_only=False,
    area="tools",
    errors=(ToolNotFound,),
    audited=("name",),
    example=tool_examples.CALL,
    answer=tool_examples.OUTCOME,
)
LIST_RESOURCES: Final = Operation(
    name="list-resources",
    summary="List the resources of the MCP servers",
    parameters=OfServer,
    result=ResourceList,
    work=_list_resources,
    route=HttpRoute(method="GET", path="/v1/mcp/resources"),
    command="resources",
    is_read_only=True,
    area="tools",
    errors=READING_ERRORS,
    audited=("server",),
    example=tool_examples.OF_SERVER,
    answer=tool_examples.RESOURCES,
)
READ_RESOURCE: Final = Operation(
    name="read-resource",
    summary="Read a resource of an MCP server",
    parameters=ResourceParameters,
    result=ResourceContents,
    work=_read_resource,
    route=HttpRoute(method="POST", path="/v1/mcp/resources/read"),
    command="resource",
    is_read_only=True,
    area="tools",
    errors=READING_ERRORS,
    audited=("server",),
    example=tool_examples.READ,
    answer=tool_examples.CONTENTS,
)
LIST_PROMPTS: Final = Operation(
    name="list-prompts",
    summary="List the prompts of the MCP servers",
    parameters=OfServer,
    result=PromptList,
    work=_list_prompts,
    route=HttpRoute(method="GET", path="/v1/mcp/prompts"),
    command="prompts",
    is_read_only=True,
    area="tools",
    errors=READING_ERRORS,
    audited=("server",),
    example=tool_examples.OF_SERVER,
    answer=tool_examples.PROMPTS,
)
GET_PROMPT: Final = Operation(
    name="get-prompt",
    summary="Fill in a prompt of an MCP server",
    parameters=PromptParameters,
    result=FilledPrompt,
    work=_get_prompt,
    route=HttpRoute(method="POST", path="/v1/mcp/prompts/get"),
    command="prompt",
    is_read_only=True,
    area="tools",
    errors=READING_ERRORS,
    audited=("server", "name"),
    example=tool_examples.PROMPT,
    answer=tool_examples.FILLED,
)
APPROVE: Final = Operation(
    name="answer-approval",
    summary="Say whether a call of a tool may run",
    parameters=ApprovalParameters,
    result=Answered,
    work=_approve,
    route=HttpRoute(method="POST", path="/v1/mcp/approvals/{id}"),
    command=None,
    is_read_only=False,
    area="tools",
    errors=(NotFound,),
    audited=("id", "approve"),
    example=tool_examples.APPROVAL,
    answer=tool_examples.ANSWERED,
)
ANSWER: Final = Operation(
    name="answer-elicitation",
    summary="Tell an MCP server what it asked for",
    parameters=ElicitationParameters,
    result=Answered,
    work=_answer,
    route=HttpRoute(method="POST", path="/v1/mcp/elicitations/{id}"),
    command=None,
    is_read_only=False,
    area="tools",
    errors=(NotFound, InvalidAnswer),
    audited=("id", "action"),
    example=tool_examples.ELICITATION,
    answer=tool_examples.ANSWERED,
)
TOOL_OPERATIONS: Final[tuple[AnyOperation, ...]] = (
    LIST_TOOLS,
    LIST_SERVERS,
    RESTART,
    ENABLE,
    DISABLE,
    CALL,
    LIST_RESOURCES,
    READ_RESOURCE,
    LIST_PROMPTS,
    GET_PROMPT,
    APPROVE,
    ANSWER,
)
