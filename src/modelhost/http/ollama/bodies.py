"""The bodies of requests of Ollama's API that models answer.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md, and the types of its package ``api``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from modelhost.chat.parsing.fields import McpOptions, NonEmpty, Number
from modelhost.config.request_defaults import HIGHEST_TEMPERATURE, LARGEST_COUNT
from modelhost.config.value_types import NewSessionId
from modelhost.http.validation import Lenient

LARGEST_SEED = 2**63 - 1
LARGEST_WHOLE_FLOAT = 2**53 - 1

Whole = Annotated[float, Field(ge=-LARGEST_COUNT, le=LARGEST_COUNT)]
"""A whole number. Its fraction, if it has one, is cut off, as Ollama does: some clients send 4096.0."""
Penalty = Annotated[Number, Field(ge=-2, le=2)]
Share = Annotated[Number, Field(ge=0, le=1)]
Seed = (
    Annotated[int, Field(ge=-LARGEST_SEED, le=LARGEST_SEED)]
    | Annotated[float, Field(ge=-LARGEST_WHOLE_FLOAT, le=LARGEST_WHOLE_FLOAT)]
)
KeepAlive = str | Number
Format = Literal["", "json"] | dict[str, Any]
Think = bool | Literal["low", "medium", "high", "max"]


def lower(role: Any) -> Any:
    """Return a role in lower case; anything else as it is."""
    return role.lower() if isinstance(role, str) else role


class Options(Lenient):
    """``options``: parameters of the model. Those that the engine lacks are ignored and noted, as unknown ones are."""

    temperature: Annotated[Number, Field(ge=0, le=HIGHEST_TEMPERATURE)] | None = None
    top_k: Annotated[float, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    num_predict: Annotated[float, Field(ge=-2, le=LARGEST_COUNT)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: Annotated[Number, Field(ge=0, le=LARGEST_COUNT)] | None = None
    repeat_last_n: Annotated[float, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    mirostat: Annotated[float, Field(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[Number, Field(ge=0, le=LARGEST_COUNT)] | None = None
    mirostat_eta: Annotated[Number, Field(ge=0, le=LARGEST_COUNT)] | None = None
    num_keep: Annotated[float, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    num_ctx: Whole | None = None
    num_batch: Whole | None = None
    num_gpu: Whole | None = None
    main_gpu: Whole | None = None
    num_thread: Whole | None = None
    draft_num_predict: Whole | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    low_vram: bool | None = None
    numa: bool | None = None
    penalize_newline: bool | None = None
    tfs_z: Number | None = None


class CalledFunction(Lenient):
    """The name and the arguments of a call in an earlier answer."""

    name: NonEmpty
    arguments: dict[str, Any] | None = None
    index: Whole | None = None


class ToolCall(Lenient):
    """A call in an earlier answer."""

    id: str | None = None
    function: CalledFunction


class Message(Lenient):
    """One message."""

    role: Annotated[Literal["system", "user", "assistant", "tool"], BeforeValidator(lower)]
    content: str | None = None
    thinking: str | None = None
    images: list[NonEmpty] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Function(Lenient):
    """The function that a tool is."""

    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Lenient):
    """A tool that the client runs."""

    type: str | None = None
    function: Function


class ToolName(Lenient):
    """The name of a tool."""

    name: NonEmpty


class NamedTool(Lenient):
    """The tool that the model has to call."""

    type: Literal["function"] | None = None
    function: ToolName


class _Request(Lenient):
    """What all requests share."""

    model: str | None = None
    keep_alive: KeepAlive | None = None
    options: Options | None = None


class _Generation(_Request):
    """What requests share whose answer is text."""

    stream: bool | None = None
    format: Format | None = None
    think: Think | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[float, Field(ge=0, le=20)] | None = None
    include_progress: bool | None = None


class ChatRequest(_Generation):
    """``POST /api/chat``."""

    messages: list[Message] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    mcp: McpOptions | None = None
    session_id: NewSessionId | None = None


class GenerateRequest(_Generation):
    """``POST /api/generate``."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    raw: bool | None = None
    images: list[NonEmpty] | None = None
    context: list[Number] | None = None


class EmbedRequest(_Request):
    """``POST /api/embed``."""

    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: Annotated[float, Field(ge=0, le=LARGEST_COUNT)] | None = None


class EmbeddingsRequest(_Request):
    """``POST /api/embeddings``."""

    prompt: str | None = None


AnyRequest = ChatRequest | GenerateRequest | EmbedRequest | EmbeddingsRequest
