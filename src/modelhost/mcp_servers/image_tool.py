"""The tool ``generate_image``, which is listed where models of the host make images."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, Literal

import mcp_types as types
from pydantic import AliasChoices, Field

from modelhost.client.host_client import SoundClient
from modelhost.mcp_servers import schemas
from modelhost.mcp_servers.host_tool import CallContext, HostTool, ToolOutcome
from modelhost.mcp_servers.sound_tools import definition_of, first_model, named
from modelhost.operations.operation import Parameters, Result, parsed

GENERATE: Final = "generate_image"
"""The name of the tool; over HTTP it is OpenAI's endpoint."""
MOST_IMAGES: Final = 4
"""Of one call: all of them are in the context of the model that calls it."""
AUDITED: Final = ("model", "size", "n", "steps", "guidance", "seed", "output_format")
"""The arguments that the audit log keeps: no prompts."""


class GenerateParameters(Parameters):
    """What to make."""

    prompt: str = Field(min_length=1, description="What the image shows.")
    negative_prompt: str | None = Field(default=None, description="What the image is not to show.")
    size: str | None = Field(
        default=None, min_length=1, description="The size as `WIDTHxHEIGHT`. Default: the model's own."
    )
    n: int | None = Field(default=None, ge=1, le=MOST_IMAGES, description="How many images. Default: 1.")
    steps: int | None = Field(default=None, ge=1, description="The number of steps. Default: the model's own.")
    guidance: float | None = Field(default=None, ge=0, description="How closely the image follows the prompt.")
    seed: int | None = Field(default=None, ge=0, description="The same seed gives the same image. Default: random.")
    output_format: Literal["png", "jpeg", "webp"] = Field(
        default="png",
        description="The format of the image. Default: png.",
        validation_alias=AliasChoices("output_format", "format"),
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        description="A model that makes images: its name or an alias. Default: the first that does.",
        validation_alias=AliasChoices("model", "model_id"),
    )


class MadeImage(Result):
    """An image; it is content of the result."""

    seed: int = Field(description="Makes the same image again.")
    size_bytes: int


class GenerateResult(Result):
    """What was made."""

    model: str
    mime_type: str
    images: list[MadeImage]


def image_tool(backend: SoundClient) -> HostTool:
    """Return the tool."""

    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        parameters = parsed(GENERATE, GenerateParameters, arguments)
        model = parameters.model or await first_model(backend, "images")
        body = {**parameters.model_dump(exclude_none=True), **named(model)}
        pictures = await backend.paint(body, reader.on_progress)
        media_type = f"image/{parameters.output_format}"
        made = [MadeImage(seed=each.seed, size_bytes=len(each.data)) for each in pictures]
        result = GenerateResult(model=model, mime_type=media_type, images=made)
        media = tuple(
            types.ImageContent(type="image", data=base64.b64encode(each.data).decode(), mime_type=media_type)
            for each in pictures
        )
        return ToolOutcome(structured=result.model_dump(mode="json"), media=media)

    return HostTool(
        definition=definition_of(
            GENERATE,
            "Make images of a text; the result is images.",
            parameters=GenerateParameters,
            result=GenerateResult,
        ),
        names=schemas.parameter_names(GenerateParameters),
        kept=lambda arguments: {name: arguments[name] for name in AUDITED if name in arguments},
        work=work,
        reports_progress=True,
        task="images",
    )
