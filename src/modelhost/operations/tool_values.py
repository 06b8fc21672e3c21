"""What the operations on tools take, and what they answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from modelhost.operations.operation import Parameters, Result
from modelhost.tools.entry import Approval
from modelhost.tools.outcome import FailureCode
from modelhost.tools.status import ServerState

ServerName = Annotated[str, Field(min_length=1, description="An MCP server, by its name in `mcp.json`.")]
QuestionId = Annotated[str, Field(min_length=1, description="The `id` of a `modelhost.question` on a stream.")]


class OneServer(Parameters):
    """An MCP server."""

    name: ServerName


class OfServer(Parameters):
    """One MCP server, or all."""

    server: ServerName | None = Field(default=None, description="One MCP server only. Default: all.")


class CallParameters(Parameters):
    """A tool, and what to call it with."""

    name: str = Field(
        min_length=1, description="The tool: its name for models, `server.tool`, or its own name if no other has it."
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="As the tool's `parameters` describe them.")


class ResourceParameters(Parameters):
    """A resource of an MCP server."""

    server: ServerName
    uri: str = Field(min_length=1, description="Its address.")


class PromptParameters(Parameters):
    """A prompt of an MCP server."""

    server: ServerName
    name: str = Field(min_length=1, description="Its name.")
    arguments: dict[str, str] = Field(default_factory=dict, description="What it has to be told.")


class ApprovalParameters(Parameters):
    """The answer to whether a call may run."""

    id: QuestionId
    approve: bool | None = Field(description="Whether it may; `null`: nobody is there to say so.")


class ElicitationParameters(Parameters):
    """The answer to what an MCP server wants to know."""

    id: QuestionId
    action: Literal["accept", "decline", "cancel"]
    content: dict[str, str | int | float | bool | list[str] | None] | None = Field(
        default=None, description="With `accept`: a value for each field of the question's `schema`."
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
    tool: str = Field(description="Its name on the server.")
    annotations: dict[str, Any] = Field(description="What the server says of it, such as `readOnlyHint`.")
    approval: Approval = Field(description="When its calls run: auto, read_only, ask or deny.")


class ToolList(Result):
    """The tools that can be called now."""

    object: Literal["list"] = "list"
    data: list[ToolCard]


class ToolProblemReport(Result):
    """What is wrong with one tool of an MCP server."""

    tool: str = Field(description="Its name on the server, or its place in the list if it has none.")
    location: str = Field(description="A pointer into what the server says of the tool.")
    message: str
    is_offered: bool = Field(description="Whether models get the tool all the same.")


class ServerReport(Result):
    """One MCP server."""

    name: str
    state: ServerState = Field(description="disabled, connecting, ready, restarting, failed or stopped.")
    transport: Literal["stdio", "http", "sse"] | None
    tools: int = Field(description="Tools that it offers.")
    tool_problems: list[ToolProblemReport] = Field(description="Tools that are left out, or are changed, and why.")
    protocol_version: str | None = Field(description="The version of MCP that was agreed on.")
    server_name: str | None = Field(description="What it calls itself.")
    server_version: str | None
    instructions: str | None = Field(description="What it, or `mcp.json`, says about its use.")
    restarts: int = Field(description="Connections after the first one.")
    last_error: str | None = Field(description="Why the last connection ended or could not be made.")
    why_disabled: str | None = Field(description="Why it cannot be used as it is configured.")
    pid: int | None
    in_flight: int = Field(description="Calls that it works on.")
    calls: int = Field(description="Calls that it has answered.")
    failed_calls: int = Field(description="Those of them that failed.")
    latency_p50_seconds: float | None = Field(description="The median of its last calls.")
    latency_last_seconds: float | None
    connect_seconds: float | None = Field(description="From the start to the list of its tools.")
    ready_since: float | None = Field(description="In seconds since 1970.")
    stderr: list[str] = Field(description="The last lines of its log.")


class ServerList(Result):
    """All MCP servers, in the order of the configuration."""

    object: Literal["list"] = "list"
    data: list[ServerReport]
    config: str | None = Field(description="The file that they come from; `null`: there is none.")
    config_error: str | None = Field(description="Why the file as it stands is not in force; the one before it is.")


class CallResult(Result):
    """What became of a call; a failed one too."""

    name: str
    server: str | None
    tool: str | None = Field(description="Its name on the server.")
    is_error: bool
    code: FailureCode | None = Field(description="How it failed.")
    text: str = Field(description="The result as a model gets it; cut to a limit.")
    content: list[dict[str, Any]] = Field(description="The content blocks as the server sent them.")
    structured: Any = Field(default=None, description="The structured content, if there is any.")
    seconds: float
    was_cut: bool = Field(description="Whether `text` is not all.")
    was_retried: bool = Field(description="Whether the server was lost before the call could be sent to it.")


class ResourceCard(Result):
    """One resource, or a family of them."""

    server: str
    uri: str = Field(description="Its address; of a family a template with parameters in braces.")
    name: str
    title: str | None
    description: str | None
    media_type: str | None
    size: int | None = Field(description="Bytes, if the server says so.")
    is_template: bool


class ResourceList(Result):
    """The resources of one server, or of all that are ready."""

    object: Literal["list"] = "list"
    data: list[ResourceCard]
    errors: dict[str, str] = Field(description="Why a server is left out, by its name.")


class ResourceText(Result):
    """What a resource holds: text, or bytes in base64."""

    uri: str
    media_type: str | None
    text: str | None
    blob: str | None


class ResourceContents(Result):
    """All that was found at the address of a resource."""

    server: str
    contents: list[ResourceText]


class PromptField(Result):
    """What a prompt has to be told."""

    name: str
    description: str | None
    is_required: bool


class PromptCard(Result):
    """One prompt."""

    server: str
    name: str
    title: str | None
    description: str | None
    arguments: list[PromptField]


class PromptList(Result):
    """The prompts of one server, or of all that are ready."""

    object: Literal["list"] = "list"
    data: list[PromptCard]
    errors: dict[str, str] = Field(description="Why a server is left out, by its name.")


class FilledPrompt(Result):
    """A prompt with its arguments filled in."""

    server: str
    name: str
    description: str | None
    messages: list[dict[str, Any]] = Field(description="As in a chat request.")


class Answered(Result):
    """An answer that was taken."""

    success: bool
    id: str
