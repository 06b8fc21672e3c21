"""Images as a tool: the parameters and the result of ``generate_image``."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import AliasChoices, Field

from modelhost.operations.operation import Parameters, Result

GENERATE: Final = "generate_image"
"""The name of the tool; over HTTP it is OpenAI's endpoint."""
MOST_IMAGES: Final = 4
"""Of one call: all of them are in the context of the model that calls it."""


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
