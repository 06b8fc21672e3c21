"""Options of a request that are objects of their own: the host's tools (``mcp``) and LoRA adapters (``lora``)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

Piece = Annotated[str, Field(min_length=1)]


class WantedResource(BaseModel):
    """A resource of an MCP server, to be read into the conversation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    server: Piece
    uri: Piece


class WantedPrompt(BaseModel):
    """A prompt of an MCP server, to begin the conversation with."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    server: Piece
    name: Piece
    arguments: dict[str, str] | None = None


class ToolWishes(BaseModel):
    """``mcp``: what a request wants of the host's own tools. Without it they are all given, up to the limits."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    resources: list[WantedResource] | None = None
    prompts: list[WantedPrompt] | None = None
    servers: list[Piece] | None = None
    tools: list[Piece] | None = None
    max_turns: Annotated[int, Field(ge=1, le=100)] | None = None
    approval: Literal["auto", "read_only", "ask", "deny"] | None = None


_NAMED_ONCE: JsonDict = {
    "oneOf": [
        {"properties": {"name": {"type": "string"}, "id": {"type": "null"}}, "required": ["name"]},
        {"properties": {"id": {"type": "integer"}, "name": {"type": "null"}}, "required": ["id"]},
    ]
}


class WantedAdapter(BaseModel):
    """A LoRA adapter of the model: by its name, or as llama.cpp has it by its place among all of them, from 0."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True, json_schema_extra=_NAMED_ONCE)
    name: Annotated[str, Field(min_length=1)] | None = None
    id: Annotated[int, Field(ge=0)] | None = None
    scale: Annotated[float, Field(ge=-100, le=100)] | None = None
