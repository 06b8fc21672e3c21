"""Makes images, with the models that paint."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from modelhost.chat.media.image_files import image_type
from modelhost.chat.media.jobs import answered_job
from modelhost.chat.speech import capable_model
from modelhost.errors import EngineError, InvalidImage
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.images import ImageEvent, ImageEvents, ImagesDone, ImagesStarted
from modelhost.exchange.requests import ImageRequest
from modelhost.exchange.tasks import Task
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.lease import OnQueued
from modelhost.workers.answer_events import decoded_events
from modelhost.workers.call_depth import CALL_DEPTH
from modelhost.workers.wire import EventBlocks
from modelhost.workers.worker import Worker, WorkerAnswer

EDITABLE: Final = frozenset({"image/png", "image/jpeg", "image/webp"})
"""Nothing else is given to a decoder."""
WorkerEvent = ImagesStarted | ImageEvent | ImagesDone
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """Images that are being made."""

    model: str
    started: ImagesStarted
    events: ImageEvents


class Painting:
    """Answers requests for images with the models of a host."""

    def __init__(self, collection: Callable[[], ModelCollection]) -> None:
        self._collection = collection

    def open(
        self, request: ImageRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> AbstractAsyncContextManager[Painted]:
        """Make the images of ``request``; leaving the context ends the work within a step.

        Raises:
            InvalidImage: the image to edit or its mask is empty, damaged, of an unknown format, or they do not fit.
            RequestTooLarge: one of them has too many pixels.
            InvalidRequest, UnsupportedParameter: the model cannot make images of that size, or in so many steps, or
                has no such field.
            ContextLengthExceeded: the prompt is longer than the model reads.
            UnsupportedOperation: the model makes no images, or does not edit any.
            InsufficientMemory: there is not enough for an image of that size.
            ModelhostError: before the first step, or out of the events.
        """
        for name, file in (("image", request.image), ("mask", request.mask)):
            if file is not None and image_type(file) not in EDITABLE:
                raise InvalidImage(f"{name}: it is no PNG, JPEG or WebP.", param=name)
        return self._opened(request, caller, on_queued)

    @asynccontextmanager
    async def _opened(
        self, request: ImageRequest, caller: Caller, on_queued: OnQueued | None
    ) -> AsyncIterator[Painted]:
        CALL_DEPTH.set(caller.depth)
        task: Task = "images" if request.image is None else "image_edits"
        model = await capable_model(self._collection(), task, request.model)
        async with (
            answered_job(self._collection(), model, task, _job(request), on_queued) as (worker, answer),
            aclosing(_events(worker, answer)) as events,
        ):
            started = await anext(events, None)
            if not isinstance(started, ImagesStarted):
                raise _no_images(worker)
            async with aclosing(_images(worker, events)) as images:
                yield Painted(model=model.name, started=started, events=images)


def _job(request: ImageRequest) -> dict[str, Any]:
    """Return what the worker gets."""
    width, height = request.size or (None, None)
    fields = {
        "negative_prompt": request.negative_prompt,
        "width": width,
        "height": height,
        "steps": request.steps,
        "guidance": request.guidance,
        "seed": request.seed,
        "strength": request.strength,
        "output_compression": request.compression,
        "images": None if request.image is None else [base64.b64encode(request.image).decode()],
        "mask": None if request.mask is None else base64.b64encode(request.mask).decode(),
    }
    return {
        "prompt": request.prompt,
        "n": request.n,
        "partial_images": request.partial_images,
        "output_format": request.format,
        **{name: value for name, value in fields.items() if value is not None},
    }


async def _events(worker: Worker, answer: WorkerAnswer) -> AsyncGenerator[WorkerEvent, None]:
    events = decoded_events(EventBlocks(answer), model=worker.model, worker=worker.process.name)
    async with aclosing(events):
        async for event in events:
            if event.get("event") == FAILED:
                raise worker.refusal(event["status"], event["error"])
            try:
                yield msgspec.convert(event, WorkerEvent)
            except msgspec.ValidationError as error:
                raise _no_images(worker) from error


async def _images(worker: Worker, events: AsyncGenerator[WorkerEvent, None]) -> AsyncGenerator[ImageEvent, None]:
    async for event in events:
        if isinstance(event, ImagesDone):
            return
        if isinstance(event, ImagesStarted):
            break
        yield event
    raise _no_images(worker)


def _no_images(worker: Worker) -> EngineError:
    return EngineError(
        f"The engine of {worker.model} answered without all of the images.",
        model=worker.model,
        worker=worker.process.name,
    )
