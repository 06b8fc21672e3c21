"""The objects and the scalars that a request's body may hold, as OpenAI defines them, and the host's own."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from modelhost.chat.parsing.tools import ClosedObject, OneCall, OpenObject
from modelhost.config.request_defaults import LARGEST_COUNT

MAX_CHOICES: Final = 64
MAX_BATCH: Final = 2048
"""Texts in one request, as many as OpenAI's API takes."""

NonEmpty = Annotated[str, Field(min_length=1)]
Stop = NonEmpty | Annotated[list[NonEmpty], Field(max_length=16)] | None
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Token = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Number = float  # whole ones are taken too
TokenId = Annotated[str, Field(pattern=r"^\d{1,9}$")]
_LISTED: JsonDict = {"maxItems": MAX_BATCH}
Texts = Annotated[list[str], Field(min_length=1, json_schema_extra=_LISTED)]
Prompts = str | Texts | Tokens | Annotated[list[Tokens], Field(min_length=1, json_schema_extra=_LISTED)]


class TextPart(OpenObject):
    """A piece of text in a message whose content is a list of parts."""

    type: Literal["text"]
    text: str


class RefusalPart(OpenObject):
    """A piece of an earlier answer in which the model refused."""

    type: Literal["refusal"]
    refusal: str


class MediaPart(OpenObject):
    """A piece that is no text; only models that can see or hear take it."""

    type: Literal["image_url", "input_audio", "file"]


class Message(OpenObject):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Annotated[TextPart | RefusalPart | MediaPart, Field(discriminator="type")]] | None = None
    name: str | None = None
    tool_calls: list[OneCall] | None = None
    tool_call_id: str | None = None


class StreamOptions(ClosedObject):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None
    include_progress: bool | None = None
    """Of the wait for a model: extension of this host."""
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class JsonSchema(OpenObject):
    """A named JSON schema that the answer has to follow."""

    name: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


_WITH_ITS_SCHEMA: JsonDict = {
    "anyOf": [
        {"properties": {"type": {"enum": ["text", "json_object"]}}},
        {"properties": {"json_schema": {"type": "object"}}, "required": ["json_schema"]},
    ]
}


class ResponseFormat(ClosedObject):
    """Text, any JSON object, or JSON of a given schema."""

    model_config = ConfigDict(json_schema_extra=_WITH_ITS_SCHEMA)
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: dict[str, Any] | None = Field(
        default=None,
        alias="schema",
        description="Of a `json_object`: the schema it has to follow, as llama.cpp has it.",
    )


class VoiceId(ClosedObject):
    """OpenAI's other form of a voice's name."""

    id: NonEmpty


class AudioOptions(ClosedObject):
    """How an answer is spoken."""

    voice: NonEmpty | VoiceId | None = Field(
        default=None, description="A voice of the host's speech model for chats. Default: the first of them."
    )
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"] = Field(
        description="`pcm16`: 24 kHz, mono, without a header; the only one in a stream."
    )


class InfillFile(ClosedObject):
    """A file that the text to be filled in may refer to."""

    filename: str | None = None
    text: str


class WantedResource(ClosedObject):
    """A resource of an MCP server, to be read into the conversation."""

    server: NonEmpty
    uri: NonEmpty


class WantedPrompt(ClosedObject):
    """A prompt of an MCP server, to begin the conversation with."""

    server: NonEmpty
    name: NonEmpty
    arguments: dict[str, str] | None = None


class McpOptions(ClosedObject):
    """``mcp``: what a request wants of the host's own tools. Without it they are all given, up to the limits."""

    resources: list[WantedResource] | None = None
    prompts: list[WantedPrompt] | None = None
    servers: list[NonEmpty] | None = None
    tools: list[NonEmpty] | None = None
    max_turns: Annotated[int, Field(ge=1, le=100)] | None = None
    approval: Literal["auto", "read_only", "ask", "deny"] | None = None


_NAMED_ONCE: JsonDict = {
    "oneOf": [
        {"properties": {"name": {"type": "string"}, "id": {"type": "null"}}, "required": ["name"]},
        {"properties": {"id": {"type": "integer"}, "name": {"type": "null"}}, "required": ["id"]},
    ]
}


class WantedAdapter(ClosedObject):
    """A LoRA adapter of the model: by its name, or as llama.cpp has it by its place among all of them, from 0."""

    model_config = ConfigDict(json_schema_extra=_NAMED_ONCE)
    name: Annotated[str, Field(min_length=1)] | None = None
    id: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    scale: Annotated[float, Field(ge=-100, le=100)] | None = None
