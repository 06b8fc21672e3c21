"""The bodies of requests of OpenAI's Responses API.

Source: https://platform.openai.com/docs/api-reference/responses, and the types of the package ``openai`` 3.57.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast

from pydantic import Discriminator, Field, Tag

from modelhost.chat.parsing.fields import Count, McpOptions, NonEmpty, Number
from modelhost.config.request_defaults import HIGHEST_TEMPERATURE, LARGEST_COUNT, Seed
from modelhost.config.value_types import NewSessionId
from modelhost.http.responses.item_bodies import GivenItem
from modelhost.http.responses.items import Item
from modelhost.http.validation import Lenient

MOST_LOGPROBS: Final = 20
MAX_STOPS: Final = 16
MAX_METADATA: Final = 16
LONGEST_VALUE: Final = 512
Key = Annotated[str, Field(max_length=64)]
Value = Annotated[str, Field(max_length=LONGEST_VALUE)]
Metadata = Annotated[dict[Key, Value], Field(max_length=MAX_METADATA)]
Included = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]
"""What a client may want to have in the answer; most of it is about tools that only OpenAI runs."""
OTHER: Final = "another of OpenAI's"
"""The tag of tools that this host has no use for."""

# Tools.


class FunctionTool(Lenient):
    """A function that the client runs."""

    type: Literal["function"]
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class InputFormat(Lenient):
    """What the input of a custom tool has to be."""

    type: Literal["text", "grammar"]
    syntax: Literal["lark", "regex"] | None = None
    definition: str | None = None


class CustomTool(Lenient):
    """A tool that the client runs, called with a text."""

    type: Literal["custom"]
    name: NonEmpty
    description: str | None = None
    format: InputFormat | None = None


class ToolFilter(Lenient):
    """Some tools of an MCP server."""

    tool_names: list[NonEmpty] | None = None
    read_only: bool | None = None


class ApprovalFilter(Lenient):
    """Which tools need approval, and which need none."""

    always: ToolFilter | None = None
    never: ToolFilter | None = None


class McpTool(Lenient):
    """An MCP server of this host, by its label, or another one, by its address."""

    type: Literal["mcp"]
    server_label: NonEmpty
    server_url: str | None = None
    connector_id: str | None = None
    server_description: str | None = None
    headers: dict[str, str] | None = None
    authorization: str | None = None
    allowed_tools: list[NonEmpty] | ToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None


class HostedTool(Lenient):
    """A tool that OpenAI runs, or that only its models know; it is not given to the model."""

    type: NonEmpty


TOOLS: Final = ("function", "custom", "mcp")


def _tool_tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return str(kind) if kind in TOOLS else OTHER


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("function")]
    | Annotated[CustomTool, Tag("custom")]
    | Annotated[McpTool, Tag("mcp")]
    | Annotated[HostedTool, Tag(OTHER)],
    Discriminator(_tool_tag),
]


class ChosenTool(Lenient):
    """A tool in a choice: by its name, or an MCP server by its label."""

    type: NonEmpty
    name: NonEmpty | None = None
    server_label: NonEmpty | None = None

    def missing(self) -> str | None:
        """Return the field without which nothing is chosen, if it is missing."""
        if self.type in {"function", "custom"}:
            return "name" if self.name is None else None
        return "server_label" if self.type == "mcp" and self.server_label is None else None


class AllowedTools(Lenient):
    """The tools among which the model may choose."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenTool], Field(min_length=1)]


def _choice_tag(value: Any) -> str:
    if isinstance(value, str):
        return "mode"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "allowed_tools" if kind == "allowed_tools" else "tool"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[AllowedTools, Tag("allowed_tools")]
    | Annotated[ChosenTool, Tag("tool")],
    Discriminator(_choice_tag),
]

# The answer.


class TextFormat(Lenient):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextConfig(Lenient):
    """The format of the answer."""

    format: TextFormat | None = None
    verbosity: str | None = None


class ReasoningConfig(Lenient):
    """How the model thinks, and what the answer shows of it."""

    effort: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class StreamOptions(Lenient):
    """Options of a stream."""

    include_obfuscation: bool | None = None
    include_progress: bool | None = None


class ConversationId(Lenient):
    """A stored conversation."""

    id: NonEmpty


class _Conversation(Lenient):
    """What both requests share."""

    model: str | None = None
    input: str | list[GivenItem] | None = None
    instructions: str | None = None
    previous_response_id: NonEmpty | None = None
    conversation: NonEmpty | ConversationId | None = None
    tools: list[AnyTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningConfig | None = None
    text: TextConfig | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def given_input(self) -> str | list[Item]:
        """The input as JSON; empty if there is none."""
        return cast("str | list[Item] | None", self.input) or []

    @property
    def conversation_id(self) -> str | None:
        return self.conversation.id if isinstance(self.conversation, ConversationId) else self.conversation


class CreateResponse(_Conversation):
    """``POST /v1/responses``."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    background: bool | None = None
    include: list[Included] | None = None
    metadata: Metadata | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Count | None = None
    temperature: Annotated[Number, Field(ge=0, le=HIGHEST_TEMPERATURE)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    user: str | None = None
    prompt: dict[str, Any] | None = None
    context_management: list[dict[str, Any]] | None = None
    client_metadata: dict[str, Any] | None = None
    top_k: Annotated[int, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    seed: Seed | None = None
    stop: NonEmpty | Annotated[list[NonEmpty], Field(max_length=MAX_STOPS)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mcp: McpOptions | None = None
    session_id: NewSessionId | None = None


class CountInputTokens(_Conversation):
    """``POST /v1/responses/input_tokens``."""

    personality: str | None = None
