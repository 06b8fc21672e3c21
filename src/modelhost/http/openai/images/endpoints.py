"""``POST /v1/images/generations``, ``/edits`` and ``/variations``, and ``GET /v1/images/files/NAME``."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost.chat.notes import ON_NOTE
from modelhost.chat.parsing.image_form import (
    ImageGenerationRequest,
    fields_of_form,
    json_edit,
    parsed_edit,
    parsed_images,
)
from modelhost.config.directories import data_directory
from modelhost.errors import UnsupportedOperation
from modelhost.exchange.images import FinishedImage, ImageStep
from modelhost.exchange.requests import ImageRequest
from modelhost.http.endpoint import BYTES_PER_MB, Endpoint, caller_of, check_model
from modelhost.http.exchange import OPENAI, Exchange
from modelhost.http.openai.images.answers import USAGE_END, ImageAnswer
from modelhost.http.openai.images.files import ImageFiles
from modelhost.http.openai.images.paths import EDITS, GENERATIONS, VARIATIONS
from modelhost.http.openai.multipart import is_form, read_parts

if TYPE_CHECKING:
    from modelhost.chat.imaging.painting import Painted
    from modelhost.host import Host

IMAGE_EVENTS: Final = replace(OPENAI, end=USAGE_END)
MOST_FILES: Final = 17
"""The images of OpenAI's edits and their mask; how many a model takes is said by name."""


class ImagesEndpoint(Endpoint):
    """Makes images of a text."""

    events = "image_generation"
    is_of_openai = True
    is_for_active_model = False

    def __init__(self, host: Host, operation: str, files: ImageFiles) -> None:
        super().__init__(host, operation, IMAGE_EVENTS)
        self._files = files

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        form = parsed_images(body)
        await self._paint(exchange, scope, form, form.request())

    async def _paint(
        self, exchange: Exchange, scope: Scope, form: ImageGenerationRequest, request: ImageRequest
    ) -> None:
        async with self.host.open_images(request, caller_of(scope), exchange.add_queue_position) as painted:
            exchange.model = painted.model
            answer = ImageAnswer(operation=self.events, form=request.format, started=painted.started, count=request.n)
            if form.stream:
                async with exchange.event_stream():
                    await _write_events(exchange, painted, answer, has_progress=form.progress is True)
                return
            images = [event async for event in painted.events if isinstance(event, FinishedImage)]
        if form.response_format == "url":
            data = await asyncio.to_thread(self._stored, images, request.format, _base_of(scope))
        else:
            data = [{"b64_json": image.base64, "seed": image.seed} for image in images]
        await exchange.answer_json(answer.whole(data))

    def _stored(self, images: Sequence[FinishedImage], form: str, base: str) -> list[dict[str, Any]]:
        paths = self._files.add([base64.b64decode(image.base64) for image in images], form)
        return [{"url": f"{base}{path}", "seed": image.seed} for image, path in zip(images, paths, strict=True)]


class EditsEndpoint(ImagesEndpoint):
    """Makes images of an image and a text."""

    events = "image_edit"

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        ON_NOTE.set(exchange.add_note)
        if is_form(exchange):
            parts = await read_parts(exchange, self._limit_bytes, max_files=MOST_FILES)
            exchange.model = next(iter(parts.fields.get("model", ())), None)
            check_model(self.host, exchange.model)
            form, request = parsed_edit(fields_of_form(parts.fields), parts.files)
        else:
            form, request = json_edit(await self.body(exchange))
        async with exchange.until_disconnected():
            await self._paint(exchange, scope, form, request)


class VariationsEndpoint(Endpoint):
    """Refuses variations, which only one model of OpenAI's ever made."""

    is_for_active_model = False

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        raise UnsupportedOperation(f"Variations are not supported; {EDITS} makes an image like another, with a prompt.")


class FilesEndpoint(Endpoint):
    """Sends an image that an answer named by URL."""

    is_for_active_model = False

    def __init__(self, host: Host, files: ImageFiles) -> None:
        super().__init__(host, "image_file")
        self._files = files

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        name = str(scope["path"]).rpartition("/")[2]
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        image, media_type = await asyncio.to_thread(
            self._files.read, name, query.get("expires", ""), query.get("signature", "")
        )
        headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(image)).encode()),
            (b"cache-control", b"private, max-age=3600"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await exchange.answer(200, image, headers)


async def _write_events(exchange: Exchange, painted: Painted, answer: ImageAnswer, *, has_progress: bool) -> None:
    async for event in painted.events:
        if isinstance(event, ImageStep):
            if has_progress:  # clients of OpenAI's API take what is not completed for an unfinished image
                await exchange.write(answer.progress(event))
        elif isinstance(event, FinishedImage):
            await exchange.write(answer.completed(event))
        else:
            await exchange.write(answer.partial(event))


def _base_of(scope: Scope) -> str:
    """Return the beginning of this host's URLs, as the client has reached it."""
    named = next((value for name, value in scope["headers"] if name == b"host"), b"")
    host, port = scope.get("server") or ("127.0.0.1", None)
    return f"{scope.get('scheme', 'http')}://{named.decode('latin-1') or (f'{host}:{port}' if port else host)}"


def images_app(host: Host) -> ASGIApp:
    """Return an application for the paths of :mod:`modelhost.http.openai.images.paths`."""
    files = ImageFiles(data_directory(host.settings), int(host.settings.image_files_mb * BYTES_PER_MB))
    stored = FilesEndpoint(host, files)
    endpoints: dict[str, Endpoint] = {
        GENERATIONS: ImagesEndpoint(host, "images", files),
        EDITS: EditsEndpoint(host, "image_edits", files),
        VARIATIONS: VariationsEndpoint(host, "image_variations"),
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoints.get(scope["path"], stored)(scope, receive, send)

    return app
