"""Requests, one frozen type for each task, parsed once at their door.

A changed request (with a model's defaults, a session's history, contents of MCP servers) is a new value, made with
:func:`msgspec.structs.replace`. Requests are not checked again: every value is valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from modelhost.exchange.messages import Message
from modelhost.exchange.nothing import NOTHING

Approval = Literal["auto", "read_only", "ask", "deny"]
ToolMode = Literal["none", "auto", "required"]
Prompt = str | tuple[int, ...]
"""A text, or its tokens."""


class Sampling(Struct, frozen=True, kw_only=True):
    """Sampling and stopping. ``None``: the model's default, or else the engine's."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    """The newer name of ``max_tokens``, which some servers require."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None

    @property
    def budget(self) -> int | None:
        """The limit of generated tokens, by either name."""
        return self.max_completion_tokens or self.max_tokens


class InputFormat(Struct, frozen=True, kw_only=True):
    """The format of a custom tool's input: any text, or a grammar."""

    kind: Literal["text", "regex", "lark"] = "text"
    definition: str = ""


class Tool(Struct, frozen=True, kw_only=True):
    """A tool that the model may call."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    """The JSON schema of its arguments."""
    input: InputFormat | None = None
    """The format of the input of a custom tool; ``None``: the tool is a function."""
    extra: Mapping[str, Any] = NOTHING
    """Unknown fields of the tool, and those of its ``function`` or ``custom`` below that key."""
    written: Mapping[str, Any] | None = None
    """The JSON that it was read from, as long as it is unchanged."""


class OutputFormat(Struct, frozen=True, kw_only=True):
    """The format of the answer: text, JSON, or JSON of a schema."""

    kind: Literal["text", "json_object", "json_schema"]
    schema: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = NOTHING
    """Further fields of ``json_schema``, such as ``name`` and ``strict``."""


class SelectedResource(Struct, frozen=True, kw_only=True):
    """A resource of an MCP server, to be read into the conversation."""

    server: str
    uri: str


class SelectedPrompt(Struct, frozen=True, kw_only=True):
    """A prompt of an MCP server, to begin the conversation with."""

    server: str
    name: str
    arguments: Mapping[str, str] = NOTHING


class RemoteMcpServer(Struct, frozen=True, kw_only=True):
    """An MCP server that is none of the host's; it is connected while the request is answered."""

    name: str
    url: str
    headers: Mapping[str, str] = NOTHING
    """Of each request to it, such as ``Authorization``."""
    allowed_tools: frozenset[str] | None = None
    """By their own names; ``None``: all."""
    denied_tools: frozenset[str] = frozenset()
    read_only: bool | None = None
    """Only tools that declare that they only read, or only the others; ``None``: both."""
    approval: Approval = "auto"
    param: str = ""
    """The path of its address in the request, for errors."""

    def __repr__(self) -> str:
        """Return it without its address and its headers, which may be secret."""
        return f"RemoteMcpServer(name={self.name!r})"


class McpOptions(Struct, frozen=True, kw_only=True):
    """Which of the host's tools a request gets; without it, all of them, up to the limits."""

    resources: tuple[SelectedResource, ...] = ()
    prompts: tuple[SelectedPrompt, ...] = ()
    servers: frozenset[str] | None = None
    tools: frozenset[str] | None = None
    denied_tools: frozenset[str] = frozenset()
    """Tools that it does not get in any case, each as ``server.tool``."""
    max_turns: int | None = None
    approval: Approval | None = None
    remote: tuple[RemoteMcpServer, ...] = ()
    """Servers whose tools it gets besides those of the host."""
    field: str = "mcp"
    """The field of the request in which these options are."""


class ToolFilter(Struct, frozen=True, kw_only=True):
    """Some tools of a server: those for which both hold."""

    names: frozenset[str] | None = None
    """Their own names; ``None``: any."""
    read_only: bool | None = None
    """Whether they declare that they only read; ``None``: either."""

    def includes(self, tool: str, *, is_read_only: bool) -> bool:
        return (self.names is None or tool in self.names) and self.read_only in (None, is_read_only)


class ApprovalRule(Struct, frozen=True, kw_only=True):
    """Which tools of a server the request wants to approve call by call."""

    always: ToolFilter | None = None
    never: ToolFilter | None = None
    otherwise: bool = True
    """For the tools of neither filter."""

    def applies(self, tool: str, *, is_read_only: bool) -> bool:
        for rule, is_needed in ((self.always, True), (self.never, False)):
            if rule is not None and rule.includes(tool, is_read_only=is_read_only):
                return is_needed
        return self.otherwise


class PendingCall(Struct, frozen=True, kw_only=True):
    """A call that a previous answer left to be approved, and the decision about it."""

    id: str
    name: str
    """The tool's name for the model."""
    arguments: str
    """As the model wrote them."""
    is_approved: bool
    reason: str | None = None
    """Why it is not approved, for the model."""
    request_id: str = ""
    """The door's id of the request to approve it."""


class HostCalls(Struct, frozen=True, kw_only=True):
    """How the host calls its tools for one answer, whichever tools the model gets."""

    lists_tools: bool = False
    """Whether the answer begins with the tools of each server."""
    max_calls: int | None = None
    """Calls in the answer. Those beyond it are not made, and the model goes on without the host's tools."""
    defers_approvals: bool = False
    """Whether a call that needs approval ends the answer, instead of asking the user meanwhile."""
    rules: Mapping[str, ApprovalRule] = NOTHING
    """By server: which approvals the request wants besides those of ``mcp.json``."""
    pending: tuple[PendingCall, ...] = ()
    """To be made or denied before the model goes on: calls of the last turn in the messages."""


AS_USUAL: Final = HostCalls()


class SelectedAdapter(Struct, frozen=True, kw_only=True):
    """A LoRA adapter of the model, by name or by index."""

    name: str | None = None
    id: int | None = None
    scale: float | None = None
    """``None``: the scale with which the host was given it."""


class Request(Struct, frozen=True, kw_only=True):
    """The fields of all requests."""

    model: str | None = None
    """A name or an alias, optionally with an adapter after a colon; ``None``: the active model."""
    extra: Mapping[str, Any] = NOTHING
    """Fields that only the model's engine interprets."""
    constraint_field: str = ""
    """The field in which the client constrained the answer, if ``extra`` has it under another name."""
    inert: Mapping[str, Any] = NOTHING
    """Fields without effect, unless the engine lists them."""


class GenerationRequest(Request, frozen=True, kw_only=True):
    """The fields of all requests that are answered by generating text."""

    sampling: Sampling = Sampling()
    n: int = 1
    """Choices per prompt."""
    is_streamed: bool = False
    """Whether the answer is streamed."""
    include_usage: bool = False
    """Whether a stream ends with the usage."""
    include_progress: bool = False
    """Whether a stream begins with wait events."""
    continuous_usage: bool = False
    """Whether each piece of a stream has the usage so far."""
    names_stop: bool = False
    """Whether the answer says which of the stop sequences ended it."""
    lora: tuple[SelectedAdapter, ...] = ()
    """The adapters to apply, besides those that are always applied."""


class AudioOutput(Struct, frozen=True, kw_only=True):
    """The answer as audio."""

    format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm16"]
    voice: str | None = None
    """``None``: the speech model's first one."""


class ChatRequest(GenerationRequest, frozen=True, kw_only=True):
    """A conversation to be continued."""

    messages: tuple[Message, ...]
    logprobs: bool = False
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] | None = None
    """``None``: not specified; the host may offer its own."""
    tool_choice: ToolMode | str | None = None
    """A mode; unset with :attr:`named_tool`, which has to be called."""
    named_tool: str | None = None
    allowed_tools: frozenset[str] | None = None
    """The names of the tools that may be called; ``None``: all."""
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    mcp: McpOptions | None = None
    host_calls: HostCalls = AS_USUAL
    session_id: str | None = None
    """The stored conversation that the messages continue."""
    audio: AudioOutput | None = None
    """``None``: the answer is text."""


class Infill(Struct, frozen=True, kw_only=True):
    """Infilling: what follows the gap. The prompt is what precedes it."""

    suffix: str
    begun: str = ""
    """The beginning of the infill."""
    files: tuple[Mapping[str, str], ...] = ()
    """Files for context: ``text``, ``filename``."""
    prompt_field: str = "prompt"
    """The request's field for what precedes the gap."""
    answer_fields: tuple[str, ...] | None = None
    """The fields of the answer to return, as in llama.cpp; ``None``: all."""


class CompletionRequest(GenerationRequest, frozen=True, kw_only=True):
    """Texts to be continued."""

    prompts: tuple[Prompt, ...]
    logprobs: int | None = None
    echo: bool = False
    """Whether the answer begins with the prompt, with ``logprobs`` of it too."""
    infill: Infill | None = None
    """``None``: no suffix."""


class EmbeddingsRequest(Request, frozen=True, kw_only=True):
    """Texts to embed."""

    inputs: tuple[Prompt, ...]
    is_single: bool = False
    """Whether the input was a single text, not a list."""
    encoding: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    """The required dimension of the vectors; it has to be the model's own."""


class RerankRequest(Request, frozen=True, kw_only=True):
    """Documents to rank by relevance to a query."""

    query: str
    documents: tuple[str, ...]
    top_n: int | None = None


class TokenizeRequest(Request, frozen=True, kw_only=True):
    """A text, or the prompt of a chat, to tokenize."""

    content: str
    chat: ChatRequest | None = None
    """Instead of the text."""
    token_strings: bool = False
    """Whether to return the texts of the tokens too."""
    add_special: bool | None = None
    parse_special: bool | None = None


class DetokenizeRequest(Request, frozen=True, kw_only=True):
    """Tokens to convert to text."""

    tokens: tuple[int, ...]


AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]


class SpeechRequest(Request, frozen=True, kw_only=True):
    """A text to speak."""

    input: str
    voice: str | None = None
    """``None``: the model's first one."""
    format: AudioFormat = "mp3"
    speed: float = 1.0
    seed: int | None = None
    is_event_stream: bool = False
    """Whether the audio is streamed as events, not as bytes."""


class TranscriptionRequest(Request, frozen=True, kw_only=True):
    """Sound to write down."""

    file: bytes
    """As the client sent it, in any container that is known."""
    language: str | None = None
    """``None``: recognised."""
    prompt: str | None = None
    temperature: float = 0.0
    is_translation: bool = False
    """Whether the text is in English, whatever the language of the sound."""
    word_timestamps: bool = False
    vad: bool = False
    """Whether silence is left out."""


ImageFormat = Literal["png", "jpeg", "webp"]


class ImageRequest(Request, frozen=True, kw_only=True):
    """Images to make of a text, or of a text and an image."""

    prompt: str
    negative_prompt: str | None = None
    n: int = 1
    size: tuple[int, int] | None = None
    """Width and height. ``None``: those of the image to edit, or else the model's own."""
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    """Of the first image; the next has the next one. ``None``: a random one, which the answer names."""
    image: bytes | None = None
    """The file of the image to edit."""
    mask: bytes | None = None
    """A file that says which part of it to paint anew."""
    strength: float | None = None
    """How much of the image to edit is painted anew, 0 to 1."""
    format: ImageFormat = "png"
    compression: int | None = None
    """The quality of ``jpeg`` and ``webp``, 0 to 100."""
    partial_images: int = 0
    """How many unfinished images of the first one are sent."""


AnyRequest = (
    ChatRequest
    | CompletionRequest
    | EmbeddingsRequest
    | RerankRequest
    | TokenizeRequest
    | DetokenizeRequest
    | SpeechRequest
    | TranscriptionRequest
    | ImageRequest
)
