"""The bodies of requests of Anthropic's Messages API.

Source: https://docs.anthropic.com/en/api/messages, and the types of the package ``anthropic`` 2.14.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag

from modelhost.chat.parsing.fields import Count, McpOptions, NonEmpty, Number
from modelhost.config.request_defaults import HIGHEST_TEMPERATURE, LARGEST_COUNT
from modelhost.config.value_types import NewSessionId
from modelhost.http.validation import Lenient

MAX_STOPS: Final = 16
TOOLSET: Final = "mcp_toolset"


class TextBlock(Lenient):
    """Text."""

    type: Literal["text"]
    text: str


class DataSource(Lenient):
    """Contents in base64."""

    type: Literal["base64"]
    media_type: NonEmpty
    data: str


class UrlSource(Lenient):
    """Contents at an address."""

    type: Literal["url"]
    url: NonEmpty


class FileSource(Lenient):
    """A file that was uploaded before, which this host has none of."""

    type: Literal["file"]
    file_id: str


class TextSource(Lenient):
    """A document that is plain text."""

    type: Literal["text"]
    data: str


class ContentSource(Lenient):
    """A document in blocks."""

    type: Literal["content"]
    content: str | list[DocumentPart]


class ImageBlock(Lenient):
    """An image."""

    type: Literal["image"]
    source: Annotated[DataSource | UrlSource | FileSource, Field(discriminator="type")]


DocumentPart = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]
AnySource = Annotated[TextSource | ContentSource | DataSource | UrlSource | FileSource, Field(discriminator="type")]


class DocumentBlock(Lenient):
    """A document; models get its text."""

    type: Literal["document"]
    source: AnySource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Lenient):
    """A result of a search by the client."""

    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock]


class ThinkingBlock(Lenient):
    """Reasoning of an earlier answer, with the signature of the host that wrote it."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseBlock(Lenient):
    """A call in an earlier answer."""

    type: Literal["tool_use"]
    id: NonEmpty
    name: NonEmpty
    input: dict[str, Any]


class HostToolUseBlock(Lenient):
    """A call that the host made in an earlier answer."""

    type: Literal["mcp_tool_use"]
    id: NonEmpty
    name: NonEmpty
    input: dict[str, Any]
    server_name: str | None = None


class ReferenceBlock(Lenient):
    """The name of a tool that a search found."""

    type: Literal["tool_reference"]
    tool_name: str


def _kind(value: Any) -> str:
    """Return the tag of a block: its type, or that of the blocks without effect."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return WITHOUT_EFFECT if isinstance(kind, str) and kind in IGNORED_BLOCKS else str(kind)


IGNORED_BLOCKS: Final = frozenset(
    {
        *("redacted_thinking", "server_tool_use", "web_search_tool_result", "web_fetch_tool_result"),
        *("code_execution_tool_result", "bash_code_execution_tool_result"),
        *("text_editor_code_execution_tool_result", "tool_search_tool_result", "advisor_tool_result"),
        *("container_upload", "browser_state", "compaction", "fallback"),
    }
)
"""Types of blocks that Anthropic's own servers write, which no model here can read; they are ignored and noted."""
WITHOUT_EFFECT: Final = "another of Anthropic's"


class IgnoredBlock(Lenient):
    """A block of Anthropic's own servers, without effect here."""

    type: Annotated[str, Field(json_schema_extra={"enum": sorted(IGNORED_BLOCKS)})]


ResultPart = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ImageBlock, Tag("image")]
    | Annotated[DocumentBlock, Tag("document")]
    | Annotated[SearchResultBlock, Tag("search_result")]
    | Annotated[ReferenceBlock, Tag("tool_reference")]
    | Annotated[IgnoredBlock, Tag(WITHOUT_EFFECT)],
    Discriminator(_kind),
]


class ToolResultBlock(Lenient):
    """The result of a call that the client made."""

    type: Literal["tool_result"]
    tool_use_id: NonEmpty
    content: str | list[ResultPart] | None = None
    is_error: bool | None = None


class HostToolResultBlock(Lenient):
    """The result of a call that the host made in an earlier answer."""

    type: Literal["mcp_tool_result"]
    tool_use_id: NonEmpty
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None


Block = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ImageBlock, Tag("image")]
    | Annotated[DocumentBlock, Tag("document")]
    | Annotated[SearchResultBlock, Tag("search_result")]
    | Annotated[ThinkingBlock, Tag("thinking")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")]
    | Annotated[HostToolUseBlock, Tag("mcp_tool_use")]
    | Annotated[HostToolResultBlock, Tag("mcp_tool_result")]
    | Annotated[ReferenceBlock, Tag("tool_reference")]
    | Annotated[IgnoredBlock, Tag(WITHOUT_EFFECT)],
    Discriminator(_kind),
]
"""Blocks of a message."""


class Message(Lenient):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(Lenient):
    """A tool that the client runs."""

    name: NonEmpty
    description: str | None = None
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None


class HostedTool(Lenient):
    """A tool that Anthropic runs, or whose schema only Anthropic's models know; it is not given to the model."""

    type: Annotated[NonEmpty, Field(json_schema_extra={"not": {"enum": ["custom", TOOLSET]}})]
    name: str | None = None


class ToolsetConfig(Lenient):
    """Whether the model gets a tool of an MCP server."""

    enabled: bool | None = None


class Toolset(Lenient):
    """Which tools of an MCP server the model gets: those of ``configs`` as these say, others as the default says."""

    type: Literal["mcp_toolset"]
    mcp_server_name: NonEmpty
    default_config: ToolsetConfig | None = None
    configs: dict[str, ToolsetConfig | None] | None = None

    @property
    def is_enabled(self) -> bool:
        """Whether the model gets the tools that ``configs`` says nothing of."""
        return self.default_config is None or self.default_config.enabled is not False

    @property
    def named(self) -> Mapping[str, bool]:
        """The tools of ``configs``, each with whether the model gets it; saying nothing means that it does."""
        configs = self.configs or {}
        return {name: config is None or config.enabled is not False for name, config in configs.items()}


def _tool_kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if kind in (None, "custom"):
        return "custom"
    return "toolset" if kind == TOOLSET else "hosted"


AnyTool = Annotated[
    Annotated[Tool, Tag("custom")] | Annotated[Toolset, Tag("toolset")] | Annotated[HostedTool, Tag("hosted")],
    Discriminator(_tool_kind),
]


class FreeChoice(Lenient):
    """The model decides (``auto``), has to call a tool (``any``), or may call none."""

    type: Literal["auto", "any", "none"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(Lenient):
    """The model has to call this tool."""

    type: Literal["tool"]
    name: NonEmpty
    disable_parallel_tool_use: bool | None = None


class ThinkingEnabled(Lenient):
    """The model thinks first, for at most so many tokens."""

    type: Literal["enabled"]
    budget_tokens: Count
    display: Literal["summarized", "omitted"] | None = None


class ThinkingFreely(Lenient):
    """The model may think first, as long as it wants."""

    type: Literal["adaptive", "between_tools"]
    display: Literal["summarized", "omitted"] | None = None


class ThinkingDisabled(Lenient):
    """The model answers without thinking."""

    type: Literal["disabled"]


Thinking = Annotated[ThinkingEnabled | ThinkingFreely | ThinkingDisabled, Field(discriminator="type")]


class OutputFormat(Lenient):
    """A JSON schema that the answer has to match."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Lenient):
    """The format of the answer, and how much effort it is worth."""

    effort: str | None = None
    format: OutputFormat | None = None


class ServerTools(Lenient):
    """Which tools of an MCP server the model gets."""

    enabled: bool | None = None
    allowed_tools: list[NonEmpty] | None = None


class McpServer(Lenient):
    """An MCP server of this host, by its name, or another one, by its address."""

    type: Literal["url"] | None = None
    name: NonEmpty
    url: str | None = None
    authorization_token: str | None = None
    tool_configuration: ServerTools | None = None


class _Conversation(Lenient):
    """What both requests share."""

    model: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[AnyTool] | None = None
    tool_choice: Annotated[FreeChoice | NamedChoice, Field(discriminator="type")] | None = None
    thinking: Thinking | None = None
    mcp_servers: list[McpServer] | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    cache_control: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None


class MessagesRequest(_Conversation):
    """``POST /v1/messages``."""

    max_tokens: Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
    stream: bool | None = None
    stop_sequences: Annotated[list[NonEmpty], Field(max_length=MAX_STOPS)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=HIGHEST_TEMPERATURE)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    speed: str | None = None
    betas: list[str] | None = None
    container: Any = None
    diagnostics: Any = None
    include_progress: bool | None = None
    mcp: McpOptions | None = None
    session_id: NewSessionId | None = None


class CountTokensRequest(_Conversation):
    """``POST /v1/messages/count_tokens``."""

    speed: str | None = None
