"""What a request orders, checked against what the pipeline can make before any work is done."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelhost.engines.media.refusals import PROMPT_TOO_LONG
from modelhost.engines.worker.asgi import UNSUPPORTED, ErrorResponse, error_body, invalid

SMALLEST_SIDE: Final = 64
PACKED: Final = 2
"""Transformers take latents in squares of so many."""
TRUE_GUIDANCE: Final = "true_cfg_scale"
"""The parameter of pipelines whose guidance is part of the model, so that negative prompts have no effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a pipeline can make, and what it makes unless a request says otherwise."""

    size: tuple[int, int]
    multiple: int
    """What divides width and height."""
    steps: int
    guidance: float
    max_steps: int
    max_pixels: int
    has_negative_prompts: bool
    prompt_tokens: int
    """The most tokens of a prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The numbers of a request, checked."""

    size: tuple[int, int] | None
    """``None``: that of the image to edit, or else the pipeline's own."""
    steps: int
    guidance: float


def abilities_of(pipeline: Any, config: Mapping[str, Any]) -> Abilities:
    """Return what ``pipeline`` can make, with the options of ``config``."""
    parameters = inspect.signature(pipeline.__call__).parameters
    scale = pipeline.vae_scale_factor
    given = {name: None if config[name] is None else float(config[name]) for name in ("steps", "guidance")}
    return Abilities(
        size=_own_size(pipeline, scale),
        multiple=scale * (PACKED if hasattr(pipeline, "transformer") else 1),
        steps=int(given["steps"] or parameters["num_inference_steps"].default),
        guidance=float(parameters["guidance_scale"].default if given["guidance"] is None else given["guidance"]),
        max_steps=config["max_steps"],
        max_pixels=config["max_pixels"],
        has_negative_prompts="negative_prompt" in parameters and TRUE_GUIDANCE not in parameters,
        prompt_tokens=_prompt_tokens(pipeline, parameters),
    )


def _own_size(pipeline: Any, scale: int) -> tuple[int, int]:
    sample = getattr(pipeline, "default_sample_size", None) or pipeline.unet.config.sample_size
    height, width = (sample, sample) if isinstance(sample, int) else sample
    return width * scale, height * scale


def _prompt_tokens(pipeline: Any, parameters: Mapping[str, inspect.Parameter]) -> int:
    longest = parameters.get("max_sequence_length")
    if longest is not None and (tokenizer_of(pipeline) is not pipeline.tokenizer):
        return int(longest.default)
    return int(pipeline.tokenizer.model_max_length)


def tokenizer_of(pipeline: Any) -> Any:
    """Return the tokenizer of the encoder that reads the whole prompt: T5's, where there is one.

    Beside it, CLIP's sums up the first 77 tokens, as these models were trained.
    """
    takes_long = "max_sequence_length" in inspect.signature(pipeline.__call__).parameters
    names = ("3", "2") if takes_long else ()
    for suffix in names:
        if getattr(pipeline, f"text_encoder_{suffix}", None) is not None:
            return getattr(pipeline, f"tokenizer_{suffix}")
    return pipeline.tokenizer


def checked(body: Mapping[str, Any], can: Abilities) -> Order:
    """Return the numbers of ``body``.

    Raises:
        ErrorResponse: the pipeline cannot make that.
    """
    size = None if body.get("width") is None else (body["width"], body["height"])
    if size is not None:
        check_size(size, can)
    steps = can.steps if body.get("steps") is None else body["steps"]
    if steps > can.max_steps:
        raise invalid(f"steps: at most {can.max_steps} (the engine option max_steps).", param="steps")
    guidance = can.guidance if body.get("guidance") is None else float(body["guidance"])
    if body.get("negative_prompt"):
        if not can.has_negative_prompts:
            raise refused("negative_prompt", "this model follows none; leave it out")
        if guidance <= 1:
            raise invalid("negative_prompt: it has no effect with a guidance of 1 or less.", param="negative_prompt")
    return Order(size=size, steps=steps, guidance=guidance)


def check_size(size: tuple[int, int], can: Abilities) -> None:
    """Check the size of an image; raises ErrorResponse."""
    width, height = size
    if width % can.multiple or height % can.multiple or min(size) < SMALLEST_SIDE:
        raise invalid(
            f"size: this model makes images whose sides are multiples of {can.multiple}, from {SMALLEST_SIDE} on; "
            f"{width}x{height} is none, {near(size, can)} is.",
            param="size",
        )
    if width * height > can.max_pixels:
        raise invalid(
            f"size: {width}x{height} is more than {can.max_pixels:,} pixels (the engine option max_pixels); "
            f"{near(size, can)} is not.",
            param="size",
        )


def size_of_edit(image: tuple[int, int], can: Abilities) -> tuple[int, int]:
    """Return the size of an edit for which no other is asked: that of the image, rounded down.

    Raises:
        ErrorResponse: the image is too small for the pipeline, or too large.
    """
    if min(image) < SMALLEST_SIDE:
        raise invalid(
            f"image: it has {image[0]}x{image[1]} pixels, and this model makes images from {SMALLEST_SIDE} on; give a "
            f"size, such as {near(image, can)}.",
            param="image",
        )
    width, height = (side // can.multiple * can.multiple for side in image)
    check_size((width, height), can)
    return width, height


def near(size: tuple[int, int], can: Abilities) -> str:
    """Return a size that the pipeline makes, near to ``size`` and as far as possible of its shape."""
    scale = min(1.0, math.sqrt(can.max_pixels / max(1, size[0] * size[1])))
    width, height = (max(SMALLEST_SIDE, int(side * scale) // can.multiple * can.multiple) for side in size)
    if width > height:
        width = min(width, can.max_pixels // height // can.multiple * can.multiple)
    else:
        height = min(height, can.max_pixels // width // can.multiple * can.multiple)
    return f"{width}x{height}"


def check_prompts(pipeline: Any, body: Mapping[str, Any], can: Abilities) -> int:
    """Return the tokens of the prompts; raises ErrorResponse if one is too long, which the library would cut."""
    tokenizer, count = tokenizer_of(pipeline), 0
    for name in ("prompt", "negative_prompt"):
        if not body.get(name):
            continue
        tokens = len(tokenizer(body[name], truncation=False)["input_ids"])
        if tokens > can.prompt_tokens:
            message = f"{name}: it has {tokens} tokens, and this model reads at most {can.prompt_tokens}. Shorten it."
            raise ErrorResponse(400, error_body(400, PROMPT_TOO_LONG, message, param=name))
        count += tokens
    return count


def refused(name: str, way_out: str) -> ErrorResponse:
    """Return the refusal of a field that the model does not support."""
    return ErrorResponse(400, error_body(400, UNSUPPORTED, f"{name}: {way_out}.", param=name))
