"""Makes the images of a request, one after the other, with events for each step."""

from __future__ import annotations

import base64
import secrets
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting
from PIL import Image

from modelhost.engines.diffusers.orders import (
    Order,
    abilities_of,
    check_prompts,
    checked,
    refused,
    size_of_edit,
)
from modelhost.engines.diffusers.pictures import encoded, fitted, fitted_mask, read_picture
from modelhost.engines.media.events import EVENTS, event
from modelhost.engines.media.jobs import Emit, Job
from modelhost.engines.media.refusals import NO_MEMORY, is_out_of_memory
from modelhost.engines.worker.asgi import ErrorResponse, error_body, invalid

STRENGTH: Final = 0.8
"""How much of an edited image is painted anew, unless the request says."""
SEEDS: Final = 2**32
"""How many a generator of PyTorch on the CPU tells apart: it takes larger ones modulo this."""


class Left(Exception):
    """The client has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Originals:
    """The image to edit and its mask, in the size of the answer."""

    image: Image.Image
    mask: Image.Image | None


class Painter:
    """Makes images with ``pipeline``."""

    def __init__(self, pipeline: Any, config: Mapping[str, Any]) -> None:
        self._pipeline = pipeline
        self._can = abilities_of(pipeline, config)
        self._editing = self._inpainting = None
        with suppress(ValueError):  # there is none for this pipeline
            self._editing = AutoPipelineForImage2Image.from_pipe(pipeline)
        with suppress(ValueError):
            self._inpainting = AutoPipelineForInpainting.from_pipe(pipeline)
        for each in (self._editing, self._inpainting):
            if each is not None:
                each.set_progress_bar_config(disable=True)

    @property
    def can_edit(self) -> bool:
        """Whether it can make images from images."""
        return self._editing is not None

    def prepare(self, body: Mapping[str, Any]) -> tuple[Job, str]:
        """Return the job for ``body``, whose types the host has checked, and the media type of its answer.

        Raises:
            ErrorResponse: the pipeline cannot make that.
        """
        order = checked(body, self._can)
        if body.get("mask") is not None and self._inpainting is None:
            raise refused("mask", "this model paints no parts of images; leave it out")

        def job(emit: Emit) -> None:
            originals, size = self._originals(body, order)
            tokens = check_prompts(self._pipeline, body, self._can)
            with suppress(Left):
                self._paint(body, order, originals, size, tokens, _Events(emit))

        return job, EVENTS

    def _originals(self, body: Mapping[str, Any], order: Order) -> tuple[_Originals | None, tuple[int, int]]:
        """Return what is edited, decoded, and the size of the answer."""
        if not body.get("images"):
            return None, order.size or self._can.size
        most = self._can.max_pixels
        image = read_picture(base64.b64decode(body["images"][0]), param="image", max_pixels=most)
        size = order.size
        if size is None:
            size = size_of_edit((image.width, image.height), self._can)
        mask = None
        if body.get("mask") is not None:
            drawn = read_picture(base64.b64decode(body["mask"]), param="mask", max_pixels=most)
            mask = fitted_mask(drawn, image, size)
        return _Originals(image=fitted(image, size), mask=mask), size

    def _paint(  # noqa: PLR0913, PLR0917 (each is a part of the job)
        self,
        body: Mapping[str, Any],
        order: Order,
        originals: _Originals | None,
        size: tuple[int, int],
        tokens: int,
        events: _Events,
    ) -> None:
        pipeline, arguments, steps = self._call(body, order, originals, size)
        first = secrets.randbelow(SEEDS) if body.get("seed") is None else body["seed"]
        width, height = size
        events.send("started", width=width, height=height, tokens=tokens, steps=steps)
        for index in range(body["n"]):
            seed = (first + index) % SEEDS  # one that a request may name
            events.send("progress", index=index, step=0, steps=steps)
            watch = _Watch(self, body, index, steps, size, events)
            try:
                made = pipeline(
                    **arguments,
                    generator=torch.Generator("cpu").manual_seed(seed),
                    callback_on_step_end=watch.step,
                )
            except (RuntimeError, MemoryError, ValueError, TypeError, IndexError, ZeroDivisionError) as error:
                failed = _failure(error)
                events.send("failed", status=failed.status, error=failed.body)
                return
            finally:
                # The library offloads again only at the end of a whole image by the pipeline that it was loaded as:
                # not after an error, and not for those that edit, which share its components.
                self._pipeline.maybe_free_model_hooks()
            if any(getattr(made, "nsfw_content_detected", None) or ()):
                withheld = invalid("prompt: the safety checker of the model withheld the image.", param="prompt")
                events.send("failed", status=withheld.status, error=withheld.body)
                return
            events.send("image", index=index, seed=seed, b64_json=self.written(made.images[0], body))
        events.send("done")

    def _call(
        self, body: Mapping[str, Any], order: Order, originals: _Originals | None, size: tuple[int, int]
    ) -> tuple[Any, dict[str, Any], int]:
        """Return the pipeline that does it, its arguments, and the number of steps that it will take."""
        width, height = size
        arguments: dict[str, Any] = {
            "prompt": body["prompt"],
            "width": width,
            "height": height,
            "num_inference_steps": order.steps,
            "guidance_scale": order.guidance,
            "output_type": "pil",
        }
        if body.get("negative_prompt"):
            arguments["negative_prompt"] = body["negative_prompt"]
        if originals is None:
            return self._pipeline, arguments, order.steps
        strength = STRENGTH if body.get("strength") is None else body["strength"]
        steps = steps_of(self._pipeline, order.steps, strength)
        if steps < 1:
            raise invalid(f"strength: {strength} of {order.steps} steps is none; raise one of them.", param="strength")
        arguments |= {"image": originals.image, "strength": strength}
        if originals.mask is None:
            return self._editing, arguments, steps
        return self._inpainting, arguments | {"mask_image": originals.mask}, steps

    def preview(self, pipeline: Any, latents: Any, size: tuple[int, int]) -> Image.Image:
        """Return what ``latents`` look like."""
        width, height = size
        config = pipeline.vae.config
        with torch.no_grad():
            if hasattr(pipeline, "_unpack_latents"):
                latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
            latents = latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0)
            shown = pipeline.vae.decode(latents.to(pipeline.vae.dtype), return_dict=False)[0]
        preview: Image.Image = pipeline.image_processor.postprocess(shown, output_type="pil")[0]
        return preview

    @staticmethod
    def written(picture: Image.Image, body: Mapping[str, Any]) -> str:
        """Return ``picture`` in the format of a request, in base64."""
        return base64.b64encode(encoded(picture, body["output_format"], body.get("output_compression"))).decode()


def steps_of(pipeline: Any, steps: int, strength: float) -> int:
    """Return how many of ``steps`` ``pipeline`` takes to change an image by ``strength``: it skips the first ones."""
    if hasattr(pipeline, "transformer"):
        return steps - int(max(steps - steps * strength, 0))
    return min(int(steps * strength), steps)


class _Watch:
    """Called by the pipeline after each step: reports it, shows what there is so far, and stops the work."""

    def __init__(  # noqa: PLR0913, PLR0917 (each is a part of the job)
        self,
        painter: Painter,
        body: Mapping[str, Any],
        index: int,
        steps: int,
        size: tuple[int, int],
        events: _Events,
    ) -> None:
        self._painter, self._body, self._index, self._events = painter, body, index, events
        self._steps, self._size = steps, size
        self._shown = {number: place for place, number in enumerate(partial_steps(body["partial_images"], steps))}

    def step(self, pipeline: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        done = step + 1
        self._events.send("progress", index=self._index, step=done, steps=max(done, self._steps))
        if done in self._shown and self._index == 0:
            picture = self._painter.preview(pipeline, tensors["latents"], self._size)
            self._events.send("partial", index=self._shown[done], b64_json=self._painter.written(picture, self._body))
        return tensors


def partial_steps(count: int, steps: int) -> list[int]:
    """Return the steps after which ``count`` unfinished images are shown, evenly spread before the last one."""
    found = [round((number + 1) * steps / (count + 1)) for number in range(count)]
    return sorted({step for step in found if 0 < step < steps})


class _Events:
    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def send(self, kind: str, **fields: Any) -> None:
        """Send an event; raises Left."""
        if not self._emit(event(kind, **fields)):
            raise Left


def _failure(error: Exception) -> ErrorResponse:
    """Return the answer for what went wrong in the library, whose words are in the log."""
    traceback.print_exception(error)
    sys.stderr.flush()
    if is_out_of_memory(error):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        way_out = "ask for a smaller image, or set the engine option tiling, or offload on a GPU"
        return ErrorResponse(507, error_body(507, NO_MEMORY, f"There is not enough memory for this image: {way_out}."))
    return ErrorResponse(500, error_body(500, "server_error", f"{type(error).__name__}: {error}"))
