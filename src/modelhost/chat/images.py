"""Images in a conversation: those in a request are checked, those that a tool returned become parts of a message.

An image is a data URL in the request itself: one at an address was fetched before (:mod:`modelhost.chat.addresses`).
Engines get no addresses: they would fetch them, and clients could reach through them what only this machine can reach.
"""

from __future__ import annotations

import base64
import binascii
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from modelhost.chat.notes import Notes
from modelhost.errors import InvalidRequest, UnsupportedOperation
from modelhost.exchange.messages import MediaPart, Message, Part, TextPart
from modelhost.exchange.requests import ChatRequest
from modelhost.tools.outcome import ToolImage, ToolOutcome
from modelhost.workers.worker import Worker

IMAGE: Final = "image_url"
FORMATS: Final = "PNG, JPEG, GIF, BMP, WebP"
TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp")
IMAGE_SIGNATURE: Final = re.compile(rb"(\x89PNG\r\n\x1a\n)|(\xff\xd8\xff)|(GIF8)|(BM)|(RIFF....WEBP)", re.DOTALL)
"""The first bytes of these formats. llama.cpp takes anything else for a video, and starts a program to read it."""
DATA: Final = "data:"
_ANY: Final = r"[\x00-\x20]*"  # which libraries for URLs overlook
ADDRESS: Final = re.compile(rf"{_ANY}[a-z](?:{_ANY}[a-z0-9+.-]){{0,30}}{_ANY}:{_ANY}/{_ANY}/", re.IGNORECASE)
HEAD_CHARS: Final = 16  # characters of base64: the first 12 bytes
HOW_TO_SEE: Final = (
    "Serve a model that was made for images, with its vision encoder: a GGUF file mmproj*.gguf beside the model, or "
    "--mmproj FILE."
)
UNSEEN: Final = "ignored=image"
UNHEARD: Final = "ignored=audio"
UNHEARD_TEXT: Final = "[Sound was returned here. This model takes no sound.]"
UNSEEN_TEXT: Final = "[An image was returned here. This model takes no images.]"


def check_images(worker: Worker, messages: Sequence[Message]) -> None:
    """Check the images of a conversation against what the model of ``worker`` accepts.

    If the engine does not report whether its model accepts images, they are passed on unchecked, but for addresses.

    Raises:
        UnsupportedOperation: the model does not accept images.
        InvalidRequest: an image is not in the request, or its format is unknown; or any media is an address.
    """
    sees, images = worker.ready.sees_images, _images_in(messages)
    if sees is False and images:
        raise blind(worker.model, images[0][0])
    _check_no_addresses(messages)
    for param, part in images if sees else ():
        if problem := _problem_of(part):
            raise InvalidRequest(f"{param}: {problem}", param=param)


def without_refused_media(worker: Worker, request: ChatRequest, notes: Notes) -> ChatRequest:
    """Return ``request`` for the model of ``worker``: images and sounds of tools that it does not take are described.

    A refusal would end the conversation, since the client sends the result with each further request. Those of a user
    are left to :func:`check_images`.
    """
    ready = worker.ready
    if ready.sees_images is False:
        request = _without(IMAGE, UNSEEN_TEXT, UNSEEN, request, notes)
    if ready.hears_audio is False:
        request = _without("input_audio", UNHEARD_TEXT, UNHEARD, request, notes)
    return request


def _without(kind: str, text: str, note: str, request: ChatRequest, notes: Notes) -> ChatRequest:
    """Return ``request`` with ``text`` in place of each part of a tool's message of this ``kind``."""

    def described(message: Message) -> Message:
        if message.role != "tool" or not any(part.kind == kind for part in message.media):
            return message
        assert isinstance(message.content, tuple)
        parts = (
            TextPart(text) if isinstance(part, MediaPart) and part.kind == kind else part for part in message.content
        )
        return replace(message, content=tuple(parts))

    messages = tuple(map(described, request.messages))
    if all(map(operator.is_, messages, request.messages)):
        return request
    notes.add(note)
    return replace(request, messages=messages)


def blind(model: str, param: str) -> UnsupportedOperation:
    """Return the error for an image at ``param``, of a model that accepts none."""
    return UnsupportedOperation(
        f"{param}: {model} takes no images, as it is served. {HOW_TO_SEE}", model=model, param=param
    )


def url_of(part: Mapping[str, Any]) -> str | None:
    """Return the URL of an image in a request, if it has one."""
    given = part.get(IMAGE)
    url = given.get("url") if isinstance(given, Mapping) else None
    return url if isinstance(url, str) else None


def image_type(content: bytes) -> str | None:
    """Return the media type of an image by its first bytes; ``None`` if its format is unknown."""
    found = IMAGE_SIGNATURE.match(content)
    return None if found is None else TYPES[(found.lastindex or 1) - 1]


def content_with_images(outcome: ToolOutcome) -> str | tuple[Part, ...]:
    """Return the content of a tool's message for a vision model: its text, and its images of known formats."""
    images = [
        MediaPart(IMAGE, {"image_url": {"url": f"data:{image.media_type};base64,{image.data}"}})
        for image in outcome.images
        if is_viewable(image)
    ]
    return (TextPart(outcome.text), *images) if images else outcome.text


def is_viewable(image: ToolImage) -> bool:
    """Whether models can be shown the format of ``image``."""
    return not _problem_of_data(image.data)


def _check_no_addresses(messages: Sequence[Message]) -> None:
    """Check that an engine would find no address to fetch from in the media of a conversation.

    Raises:
        InvalidRequest: there is one; ``param`` is its path.
    """
    for param, part in _media_in(messages):
        if address := _address_in(part):
            raise InvalidRequest(
                f"{param}: engines fetch nothing: send it in the request, in base64, not {address[:80]!r}.", param=param
            )


def _address_in(part: MediaPart) -> str | None:
    given = part.extra.get(IMAGE)
    url = given if isinstance(given, str) else url_of(part.extra)
    if url is not None and not url.startswith(DATA):
        return url
    return next(filter(ADDRESS.match, _texts_in(part.extra)), None)


def _images_in(messages: Sequence[Message]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the images, each with its path in the request."""
    return [(param, part.extra) for param, part in _media_in(messages) if part.kind == IMAGE]


def _media_in(messages: Sequence[Message]) -> Iterator[tuple[str, MediaPart]]:
    for at, message in enumerate(messages):
        if isinstance(message.content, tuple):
            for index, part in enumerate(message.content):
                if isinstance(part, MediaPart):
                    yield part.place or f"messages[{at}].content[{index}]", part


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(each)


def _problem_of(part: Mapping[str, Any]) -> str:
    """Return what is wrong with an image of a request, or an empty text."""
    url = url_of(part)
    if url is None:
        return 'it has to be {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}.'
    kind, comma, data = url.partition(",")
    if not comma or not kind.endswith(";base64"):
        return "a data URL of an image has to be data:image/png;base64,..., with the image in base64."
    return _problem_of_data(data)


def _problem_of_data(data: str) -> str:
    try:
        head = base64.b64decode(data[:HEAD_CHARS], validate=True)
    except (binascii.Error, ValueError):
        return "the image is not in base64."
    return "" if image_type(head) else f"the image is none of {FORMATS}."
