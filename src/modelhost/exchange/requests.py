"""What a model is asked, one frozen value for each task: parsed once, at the door that it came by.

Whoever changes a request (a model's defaults, a session's history, what MCP servers bring in) makes a new one with
:func:`msgspec.structs.replace`. Nothing checks one again: a value that exists is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from modelhost.exchange.messages import Message
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.tasks import Task

Approval = Literal["auto", "read_only", "ask", "deny"]
ToolMode = Literal["none", "auto", "required"]
Prompt = str | tuple[int, ...]
"""Text, or the tokens of one."""


class Sampling(Struct, frozen=True, kw_only=True):
    """How the next token is chosen, and when it ends. ``None``: the model's default, or else the engine's."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    """The same by its newer name, which some servers want."""
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
        """How many tokens may be written, by whichever name."""
        return self.max_completion_tokens or self.max_tokens


class InputFormat(Struct, frozen=True, kw_only=True):
    """What the input of a custom tool has to be: any text, or one of a grammar."""

    kind: Literal["text", "regex", "lark"] = "text"
    definition: str = ""


class Tool(Struct, frozen=True, kw_only=True):
    """A tool that the model may call, and that the client runs."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    """The JSON schema of its arguments."""
    input: InputFormat | None = None
    """Of a custom tool, whose calls have a text in the place of arguments; ``None``: it is a function."""
    extra: Mapping[str, Any] = NOTHING
    """Of the tool, and below ``function`` or ``custom`` of that."""
    written: Mapping[str, Any] | None = None
    """It as OpenAI's requests have it, as long as nothing of it has changed."""


class OutputFormat(Struct, frozen=True, kw_only=True):
    """What the answer has to be: text, JSON, or JSON of a schema."""

    kind: Literal["text", "json_object", "json_schema"]
    schema: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = NOTHING
    """Such as the schema's ``name`` and ``strict``, below ``json_schema``."""


class SelectedResource(Struct, frozen=True, kw_only=True):
    """A resource of an MCP server, to be read into the conversation."""

    server: str
    uri: str


class SelectedPrompt(Struct, frozen=True, kw_only=True):
    """A prompt of an MCP server, to begin the conversation with."""

    server: str
    name: str
    arguments: Mapping[str, str] = NOTHING


class McpOptions(Struct, frozen=True, kw_only=True):
    """What a request wants of the host's own tools. Without it they are all given, up to the limits."""

    resources: tuple[SelectedResource, ...] = ()
    prompts: tuple[SelectedPrompt, ...] = ()
    servers: frozenset[str] | None = None
    tools: frozenset[str] | None = None
    max_turns: int | None = None
    approval: Approval | None = None


class SelectedAdapter(Struct, frozen=True, kw_only=True):
    """A LoRA adapter of the model, by its name or by its place among all of them."""

    name: str | None = None
    id: int | None = None
    scale: float | None = None
    """How strong it is to be; ``None``: as it was given to the host."""


class Request(Struct, frozen=True, kw_only=True):
    """What all requests have."""

    model: str | None = None
    """Its name or an alias, perhaps with an adapter behind a colon; ``None``: the active one."""
    extra: Mapping[str, Any] = NOTHING
    """Fields that mean something to the engine of the model alone."""
    constraint_field: str = ""
    """The field in which the client said what the answer has to be, if that stands in ``extra`` under another name."""
    inert: Mapping[str, Any] = NOTHING
    """Fields that ask for no other answer, unless an engine lists them for itself."""


class GenerationRequest(Request, frozen=True, kw_only=True):
    """What requests have that a model answers by writing."""

    sampling: Sampling = Sampling()
    n: int = 1
    """Choices for each prompt."""
    is_streamed: bool = False
    """Whether the client wants the answer as it comes."""
    include_usage: bool = False
    """Whether a stream ends with the usage."""
    include_progress: bool = False
    """Whether a stream begins with what the request waits for."""
    continuous_usage: bool = False
    """Whether each piece of a stream tells the usage so far."""
    lora: tuple[SelectedAdapter, ...] = ()
    """The adapters that the answer is to have, beside those that each answer of the model has."""


class ChatRequest(GenerationRequest, frozen=True, kw_only=True):
    """A conversation to go on with."""

    messages: tuple[Message, ...]
    logprobs: bool = False
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] | None = None
    """``None``: the request does not say which; the host may give its own."""
    tool_choice: ToolMode | str | None = None
    """A mode, or (see :attr:`named_tool`) that one tool has to be called."""
    named_tool: str | None = None
    allowed_tools: frozenset[str] | None = None
    """The names of those that the model may choose from; ``None``: all of them."""
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    mcp: McpOptions | None = None
    session_id: str | None = None
    """The conversation, kept by the host, that the messages go on with."""


class Infill(Struct, frozen=True, kw_only=True):
    """What a text is to be filled in before. The prompt is what stands before the gap."""

    suffix: str
    begun: str = ""
    """What the text to be filled in begins with."""
    files: tuple[Mapping[str, str], ...] = ()
    """Others that it may refer to: ``text``, ``filename``."""
    prompt_field: str = "prompt"
    """How the request calls what stands before the gap."""
    answer_fields: tuple[str, ...] | None = None
    """What is wanted of the answer, in llama.cpp's words; ``None``: all of it."""


class CompletionRequest(GenerationRequest, frozen=True, kw_only=True):
    """Texts to go on with."""

    prompts: tuple[Prompt, ...]
    logprobs: int | None = None
    echo: bool = False
    """Whether the answer begins with the prompt, with ``logprobs`` of it too."""
    infill: Infill | None = None
    """``None``: nothing is to come after the text."""


class EmbeddingsRequest(Request, frozen=True, kw_only=True):
    """Texts to make vectors of."""

    inputs: tuple[Prompt, ...]
    is_single: bool = False
    """Whether it was one text by itself."""
    encoding: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    """How many numbers a vector has to have; no model makes other ones than its own."""


class RerankRequest(Request, frozen=True, kw_only=True):
    """Documents to be sorted by what they say about a query."""

    query: str
    documents: tuple[str, ...]
    top_n: int | None = None


class TokenizeRequest(Request, frozen=True, kw_only=True):
    """A text, or the prompt of a chat, to take apart."""

    content: str
    chat: ChatRequest | None = None
    """In place of the text."""
    token_strings: bool = False
    """Whether the texts of the tokens are wanted, beside them."""
    add_special: bool | None = None
    parse_special: bool | None = None


class DetokenizeRequest(Request, frozen=True, kw_only=True):
    """Tokens to put together."""

    tokens: tuple[int, ...]


AnyRequest = ChatRequest | CompletionRequest | EmbeddingsRequest | RerankRequest | TokenizeRequest | DetokenizeRequest

REQUESTS: Mapping[Task, type[Request]] = {
    "chat": ChatRequest,
    "completions": CompletionRequest,
    "infill": CompletionRequest,
    "embeddings": EmbeddingsRequest,
    "rerank": RerankRequest,
    "tokenize": TokenizeRequest,
    "detokenize": DetokenizeRequest,
}
