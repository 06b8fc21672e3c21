"""Images in a conversation: those in a request are checked, those that a tool returned become parts of a message.

An image is a data URL in the request itself. The host fetches no URL of a request: clients could otherwise reach
through it what only this machine can reach.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.errors import InvalidRequest, UnsupportedOperation
from modelhost.exchange.messages import MediaPart, Message, Part, TextPart
from modelhost.tools.outcome import ToolImage, ToolOutcome
from modelhost.workers.worker import Worker

IMAGE: Final = "image_url"
FORMATS: Final = "PNG, JPEG, GIF, BMP, WebP"
IMAGE_SIGNATURE: Final = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8|BM|RIFF....WEBP", re.DOTALL)
"""The first bytes of these formats. llama.cpp takes anything else for a video, and starts a program to read it."""
HEAD_CHARS: Final = 16  # characters of base64: the first 12 bytes
HOW_TO_SEE: Final = (
    "Serve a model that was made for images, with its vision encoder: a GGUF file mmproj*.gguf beside the model, or "
    "--mmproj FILE."
)


def check_images(worker: Worker, messages: Sequence[Message]) -> None:
    """Check the images of a conversation against what the model of ``worker`` accepts.

    If the engine does not report whether its model accepts images, they are passed on unchecked.

    Raises:
        UnsupportedOperation: the model does not accept images.
        InvalidRequest: an image is not in the request, or its format is unknown.
    """
    sees = worker.ready.sees_images
    if sees is None:
        return
    for param, part in _images_in(messages):
        if not sees:
            raise UnsupportedOperation(
                f"{param}: {worker.model} takes no images, as it is served. {HOW_TO_SEE}",
                model=worker.model,
                param=param,
            )
        if problem := _problem_of(part):
            raise InvalidRequest(f"{param}: {problem}", param=param)


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


def _images_in(messages: Sequence[Message]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the images, each with its path in the request."""
    return [
        (f"messages[{at}].content[{index}]", part.extra)
        for at, message in enumerate(messages)
        if isinstance(message.content, tuple)
        for index, part in enumerate(message.content)
        if isinstance(part, MediaPart) and part.kind == IMAGE
    ]


def _problem_of(part: Mapping[str, Any]) -> str:
    """Return what is wrong with an image of a request, or an empty text."""
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, Mapping) else None
    if not isinstance(url, str):
        return 'it has to be {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}.'
    kind, comma, data = url.partition(",")
    if not kind.startswith("data:"):
        return f"the host fetches no images: send it in the request, as data:image/png;base64,..., not {url[:80]!r}."
    if not comma or not kind.endswith(";base64"):
        return "a data URL of an image has to be data:image/png;base64,..., with the image in base64."
    return _problem_of_data(data)


def _problem_of_data(data: str) -> str:
    try:
        head = base64.b64decode(data[:HEAD_CHARS], validate=True)
    except (binascii.Error, ValueError):
        return "the image is not in base64."
    return "" if IMAGE_SIGNATURE.match(head) else f"the image is none of {FORMATS}."
