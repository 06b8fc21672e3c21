"""The bodies of requests, as OpenAI defines them, for each task.

What common clients send (openai, LangChain, the Vercel AI SDK, Open WebUI, Continue, Crush), and how it is handled:

* Honoured: the fields of the models below, and those that the engine lists for itself (``top_k``, ``min_p``,
  ``repetition_penalty``, ``chat_template_kwargs``, ``reasoning_effort``, ``grammar`` ...).
* The host's own, which never reach an engine: ``mcp`` selects its tools; ``session_id`` names a conversation that the
  host stores (:mod:`modelhost.chat.sessions`).
* Inert (``INERT``): accepted without effect, since they do not change the answer. ``modalities`` of text only, and
  ``best_of`` equal to ``n``.
* Refused with 400: every other field. ``REPLACEMENTS`` in :mod:`modelhost.chat.parsing.validation` names what to send
  instead of fields that are common elsewhere.

Nothing is ignored in silence.
Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from modelhost.chat.parsing import fields
from modelhost.chat.parsing.tools import OneTool, ToolChoice
from modelhost.config.request_defaults import HIGHEST_TEMPERATURE, LARGEST_COUNT, Seed
from modelhost.config.value_types import LiteralFalse, LiteralOne, NewSessionId
from modelhost.exchange.tasks import Task


class _Request(BaseModel):
    # Strict: "0.5" is not a number. Extra fields are the engine's business and are checked against its list.
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    model: str | None = None
    user: str | None = None


_LogitBias = Annotated[
    dict[fields.TokenId, Annotated[fields.Number, Field(ge=-100, le=100)]],
    Field(json_schema_extra={"additionalProperties": False}),
]


class _Generation(_Request):
    stream: bool | None = False
    stream_options: fields.StreamOptions | None = None
    max_tokens: fields.Count | None = None
    temperature: Annotated[fields.Number, Field(ge=0, le=HIGHEST_TEMPERATURE)] | None = None
    top_p: Annotated[fields.Number, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    min_p: Annotated[fields.Number, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=fields.MAX_CHOICES)] | None = None
    stop: fields.Stop = None
    seed: Seed | None = None
    presence_penalty: Annotated[fields.Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[fields.Number, Field(ge=-2, le=2)] | None = None
    logit_bias: _LogitBias | None = None
    lora: fields.NonEmpty | fields.WantedAdapter | list[fields.NonEmpty | fields.WantedAdapter] | None = Field(
        default=None, description="The LoRA adapters of the model that the answer is to have, by their names."
    )


_TOP_OF_LOGPROBS: JsonDict = {
    "anyOf": [
        {"properties": {"top_logprobs": {"type": "null"}}},
        {"properties": {"logprobs": {"const": True}}, "required": ["logprobs"]},
    ]
}


class ChatRequest(_Generation):
    """``POST /v1/chat/completions``."""

    model_config = ConfigDict(json_schema_extra=_TOP_OF_LOGPROBS)

    messages: Annotated[list[fields.Message], Field(min_length=1)]
    max_completion_tokens: fields.Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[OneTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: fields.ResponseFormat | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    modalities: Annotated[list[Literal["text", "audio"]], Field(min_length=1)] | None = Field(
        default=None, description="`text`, or `text` and `audio`: the answer is spoken, as `audio` says."
    )
    audio: fields.AudioOptions | None = None
    prediction: dict[str, Any] | None = None
    verbosity: str | None = None
    mcp: fields.McpOptions | None = None
    session_id: NewSessionId | None = Field(
        default=None, description="The conversation, kept by the host, that the messages go on with."
    )


_OF_ECHO: JsonDict = {
    "anyOf": [
        {"properties": {"max_tokens": {"exclusiveMinimum": 0}, "echo": {"enum": [False, None]}}},
        {"properties": {"echo": {"const": True}, "suffix": {"enum": ["", None]}}, "required": ["echo"]},
    ]
}


class CompletionRequest(_Generation):
    """``POST /v1/completions``."""

    model_config = ConfigDict(json_schema_extra=_OF_ECHO)

    prompt: fields.Prompts
    max_tokens: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = Field(default=None, description="What is to come after the text that is written.")
    best_of: Annotated[int, Field(ge=1, le=fields.MAX_CHOICES)] | None = None


_ONE_LIMIT: JsonDict = {
    "anyOf": [{"properties": {name: {"type": "null"}}} for name in ("n_predict", "max_tokens")],
}


class InfillRequest(_Generation):
    """``POST /infill``, which is llama.cpp's."""

    model_config = ConfigDict(json_schema_extra=_ONE_LIMIT)

    input_prefix: str
    input_suffix: str
    input_extra: list[fields.InfillFile] | None = None
    prompt: str | None = Field(default=None, description="What the text to be filled in begins with.")
    n_predict: Annotated[int, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    stop: fields.Stop | list[fields.NonEmpty] = None
    n: LiteralOne | None = None
    stream: LiteralFalse | None = False
    response_fields: list[fields.NonEmpty] | None = Field(
        default=None, description="What is wanted of the answer; `a/b` is the b of a."
    )


class EmbeddingsRequest(_Request):
    """``POST /v1/embeddings``."""

    input: fields.Prompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: fields.Count | None = None


class RerankRequest(_Request):
    """``POST /v1/rerank``."""

    query: str
    documents: fields.Texts
    top_n: fields.Count | None = None


TOKENIZED: Final = {"content": "string", "prompt": "string", "messages": "array"}
"""What ``/tokenize`` takes one of, and its type."""


def _only(name: str) -> JsonDict:
    """Return the schema of an object in which ``name`` stands, and none of the others does."""
    kinds = {each: {"type": TOKENIZED[each] if each == name else "null"} for each in TOKENIZED}
    return {"required": [name], "properties": dict[str, Any](kinds)}


_NOT: Final[JsonDict] = {"enum": [False, None]}
_OF_MESSAGES: Final[JsonDict] = {
    "properties": {"add_special": _NOT, "add_special_tokens": _NOT, "parse_special": {"enum": [True, None]}},
    "anyOf": [{"properties": {name: _NOT}} for name in ("add_generation_prompt", "continue_final_message")],
}
"""What else holds for messages, of which the chat template says where special tokens are."""


class TokenizeRequest(_Request):
    """``POST /tokenize``: llama.cpp's ``content``, or vLLM's ``prompt`` or ``messages``."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [_only("content"), _only("prompt"), {"allOf": [_only("messages"), _OF_MESSAGES]}],
        }
    )

    content: str | None = None
    prompt: str | None = None
    messages: Annotated[list[fields.Message], Field(min_length=1)] | None = None
    tools: list[OneTool] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(_Request):
    """``POST /detokenize``."""

    tokens: list[fields.Token]


class SpeechRequest(_Request):
    """``POST /v1/audio/speech``."""

    input: fields.NonEmpty
    voice: fields.NonEmpty | fields.VoiceId | None = Field(
        default=None, description="A voice of the model: `/v1/audio/voices` lists them. Default: the first of them."
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = Field(
        default=None, description="Default: mp3. `pcm`: 24 kHz, 16 bits, mono, without a header."
    )
    speed: Annotated[fields.Number, Field(ge=0.25, le=4)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    stream_format: Literal["audio", "sse"] | None = Field(
        default=None, description="`audio` (default): the bytes as they are made; `sse`: events with them in base64."
    )


MODELS: Mapping[Task, type[_Request]] = {
    "chat": ChatRequest,
    "completions": CompletionRequest,
    "infill": InfillRequest,
    "embeddings": EmbeddingsRequest,
    "rerank": RerankRequest,
    "tokenize": TokenizeRequest,
    "detokenize": DetokenizeRequest,
    "speech": SpeechRequest,
}
# Accepted because clients send them as a matter of course; they change nothing about the answer.
INERT = frozenset(
    {
        *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_retention", "modalities", "prediction", "verbosity", "best_of"),
    }
)
