"""Images in a conversation: those in a request are checked, those that a tool returned become parts of a message.

An image is a data URL in the request itself: one at an address was fetched before (:mod:`modelhost.chat.addresses`).
Engines get no addresses: they would fetch them, and clients could reach through them what only this machine can reach.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from modelhost.chat.media.base64_files import Base64File, problem_of
from modelhost.chat.media.image_files import FORMATS, SIGNATURE_BYTES, image_type, size_of
from modelhost.chat.notes import Notes
from modelhost.errors import InvalidRequest, RequestError, RequestTooLarge, UnsupportedOperation
from modelhost.exchange.media_kinds import AUDIO, IMAGE, UNREADABLE_IMAGE
from modelhost.exchange.messages import MediaPart, Message, Part, TextPart, has_parts
from modelhost.exchange.requests import ChatRequest
from modelhost.tools.outcome import ToolImage, ToolOutcome
from modelhost.workers.worker import Worker

MEGA: Final = 1_000_000
LARGEST_IMAGE: Final = 64 * MEGA
"""In pixels: a model sees a few hundred thousand, and a small file could become an enormous image."""
MOST_PIXELS: Final = 256 * MEGA
"""Of all images in a request together, which an engine decodes before it looks at the first."""
DATA: Final = "data:"
_ANY: Final = r"[\x00-\x20]*"  # which libraries for URLs overlook
ADDRESS: Final = re.compile(rf"{_ANY}[a-z](?:{_ANY}[a-z0-9+.-]){{0,30}}{_ANY}:{_ANY}/{_ANY}/", re.IGNORECASE)
HOW_TO_SEE: Final = (
    "Serve a model that was made for images, with its vision encoder: a GGUF file mmproj*.gguf beside the model, or "
    "--mmproj FILE; in safetensors, a kind of model whose images its engine takes."
)
DETAILS: Final = (None, "auto", "low", "high", "original")
"""What ``detail`` may be, as in OpenAI's API; models see all that they can."""
UNSEEN: Final = "ignored=image"
UNHEARD: Final = "ignored=audio"
UNHEARD_TEXT: Final = "[Sound was returned here. This model takes no sound.]"
UNSEEN_TEXT: Final = "[An image was returned here. This model takes no images.]"


def check_images(worker: Worker, messages: Sequence[Message]) -> None:
    """Check the images of a conversation against what the model of ``worker`` accepts.

    If the engine does not report whether its model accepts images, they are passed on unchecked, but for addresses.

    Raises:
        UnsupportedOperation: the model does not accept images.
        InvalidRequest: an image is not in the request, damaged, or of an unknown format; or any media is an address.
        RequestTooLarge: an image has too many pixels, or all together have.
    """
    sees, images = worker.ready.sees_images, _images_in(messages)
    if sees is False and images:
        raise blind(worker.model, images[0][0], worker.ready.why_blind)
    _check_no_addresses(messages)
    pixels = 0
    for param, part in images if sees else ():
        _check_detail(part, f"{param}.{IMAGE}.detail")
        pixels += _pixels_of(part, param)
        if pixels > MOST_PIXELS:
            raise RequestTooLarge(
                f"{param}: the images of a request may have {MOST_PIXELS // MEGA} megapixels together; send fewer, or "
                "smaller ones.",
                param=param,
            )


def as_shown(worker: Worker, request: ChatRequest, notes: Notes) -> ChatRequest:
    """Return ``request`` as the model of ``worker`` is shown its media; :func:`check_images` comes after that."""
    return without_refused_media(worker, with_plain_urls(request), notes)


def without_refused_media(worker: Worker, request: ChatRequest, notes: Notes) -> ChatRequest:
    """Return ``request`` for the model of ``worker``: images and sounds of tools that it does not take are described.

    So are images that cannot be read. A refusal would end the conversation, since the client sends the result with
    each further request. Those of a user are left to :func:`check_images`.
    """
    if not has_parts(request.messages):
        return request
    ready = worker.ready
    if ready.sees_images is False:
        request = _without(_is_image, UNSEEN_TEXT, UNSEEN, request, notes)
    elif ready.sees_images:
        request = _without(_is_unreadable, UNREADABLE_IMAGE, UNSEEN, request, notes)
    if ready.hears_audio is False:
        request = _without(_is_sound, UNHEARD_TEXT, UNHEARD, request, notes)
    return request


def _is_image(part: MediaPart) -> bool:
    return part.kind == IMAGE


def _is_sound(part: MediaPart) -> bool:
    return part.kind == AUDIO


def _is_unreadable(part: MediaPart) -> bool:
    """Whether a part is an image in the request that is damaged, too large, or of an unknown format."""
    if part.kind != IMAGE or not (url_of(part.extra) or "").startswith(DATA):
        return False
    try:
        _pixels_of(part.extra, "")
    except (InvalidRequest, RequestTooLarge):
        return True
    return False


def _without(
    is_left_out: Callable[[MediaPart], bool], text: str, note: str, request: ChatRequest, notes: Notes
) -> ChatRequest:
    """Return ``request`` with ``text`` in place of the parts of tools' messages that ``is_left_out`` names."""

    def described(message: Message) -> Message:
        if message.role != "tool" or not any(map(is_left_out, message.media)):
            return message
        assert isinstance(message.content, tuple)
        parts = (
            TextPart(text) if isinstance(part, MediaPart) and is_left_out(part) else part for part in message.content
        )
        return replace(message, content=tuple(parts))

    messages = tuple(map(described, request.messages))
    if all(map(operator.is_, messages, request.messages)):
        return request
    notes.add(note)
    return replace(request, messages=messages)


def with_plain_urls(request: ChatRequest) -> ChatRequest:
    """Return ``request`` with data URLs in the one form that engines read: lower-case, and without blanks."""
    if not has_parts(request.messages):
        return request
    messages = tuple(map(_with_plain_urls, request.messages))
    return request if all(map(operator.is_, messages, request.messages)) else replace(request, messages=messages)


def _with_plain_urls(message: Message) -> Message:
    if not message.media:
        return message
    assert isinstance(message.content, tuple)
    parts = tuple(_with_plain_url(part) if isinstance(part, MediaPart) else part for part in message.content)
    return message if all(map(operator.is_, parts, message.content)) else replace(message, content=parts)


def _with_plain_url(part: MediaPart) -> MediaPart:
    url = url_of(part.extra) if part.kind == IMAGE else None
    if url is None:
        return part
    head, comma, data = url.partition(",")
    # Programs such as base64 break the lines of what they write.
    plain, whole = "".join(head.split()).lower(), data.replace("\n", "").replace("\r", "").strip()
    if not plain.startswith(DATA) or (plain == head and len(whole) == len(data)):
        return part
    return replace(part, extra={**part.extra, IMAGE: {**part.extra[IMAGE], "url": f"{plain}{comma}{whole}"}})


def name_place(error: RequestError, messages: Sequence[Message]) -> None:
    """Have ``error`` of a worker, if it is about an image of ``messages``, name the path of that in the request."""
    number = error.details.get("image")
    if not isinstance(number, int) or error.param != "messages":
        return
    place, _ = _images_in(messages)[number - 1]
    error.message, error.param = error.message.replace("messages", place, 1), place


def blind(model: str, param: str, why: str | None) -> UnsupportedOperation:
    """Return the error for an image at ``param``, of a model that accepts none; ``why`` as its worker announced."""
    return UnsupportedOperation(
        f"{param}: {model} takes no images, as it is served. {why or HOW_TO_SEE}", model=model, param=param
    )


def url_of(part: Mapping[str, Any]) -> str | None:
    """Return the URL of an image in a request, if it has one."""
    given = part.get(IMAGE)
    url = given.get("url") if isinstance(given, Mapping) else None
    return url if isinstance(url, str) else None


def content_with_images(outcome: ToolOutcome) -> str | tuple[Part, ...]:
    """Return the content of a tool's message for a vision model: its text, and its images of known formats."""
    images = [
        MediaPart(IMAGE, {IMAGE: {"url": f"data:{image.media_type};base64,{image.data}"}})
        for image in outcome.images
        if is_viewable(image)
    ]
    return (TextPart(outcome.text), *images) if images else outcome.text


def is_viewable(image: ToolImage) -> bool:
    """Whether models can be shown ``image``, by its format and its size."""
    file = Base64File(image.data)
    try:
        file.check()
        size = size_of(file)
    except ValueError:
        return False
    return size is not None and size[0] * size[1] <= LARGEST_IMAGE


def _check_no_addresses(messages: Sequence[Message]) -> None:
    """Check that an engine would find no address to fetch from in the media of a conversation.

    Raises:
        InvalidRequest: there is one; ``param`` is its path.
    """
    for param, part in media_in(messages):
        address = _address_in(part)
        if address == "":
            raise InvalidRequest(f"{param}: the image is missing: its URL is empty.", param=param)
        if address is not None:
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
    return [(param, part.extra) for param, part in media_in(messages) if part.kind == IMAGE]


def media_in(messages: Sequence[Message]) -> Iterator[tuple[str, MediaPart]]:
    """Yield the media of a conversation, each with its path in the request."""
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


def _check_detail(part: Mapping[str, Any], param: str) -> None:
    given = part.get(IMAGE)
    if isinstance(given, Mapping) and given.get("detail") not in DETAILS:
        names = ", ".join(filter(None, DETAILS))
        raise InvalidRequest(f"{param}: it has to be one of {names}.", param=param)


def _pixels_of(part: Mapping[str, Any], param: str) -> int:
    """Return how many pixels an image of a request has; raises as :func:`check_images`."""
    url = url_of(part)
    if url is None:
        shape = '{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}'
        raise InvalidRequest(f"{param}: it has to be {shape}.", param=param)
    kind, comma, data = url.partition(",")
    if not comma or not kind.endswith(";base64"):
        raise InvalidRequest(
            f"{param}: a data URL of an image has to be data:image/png;base64,..., with the image in base64.",
            param=param,
        )
    if not data:
        raise InvalidRequest(f"{param}: the image is empty.", param=param)
    if reason := problem_of(data):
        raise InvalidRequest(f"{param}: the image is not in base64: {reason}.", param=param)
    file = Base64File(data)
    try:
        file.check()
        is_known, size = image_type(file.read(0, SIGNATURE_BYTES)) is not None, size_of(file)
    except ValueError:
        raise InvalidRequest(f"{param}: the image is not in base64.", param=param) from None
    if size is None:
        problem = "damaged" if is_known else f"none of {FORMATS}"
        raise InvalidRequest(f"{param}: the image is {problem}.", param=param)
    width, height = size
    if width * height > LARGEST_IMAGE:
        raise RequestTooLarge(
            f"{param}: the image has {width} x {height} pixels, and {LARGEST_IMAGE // MEGA} megapixels are the most; "
            "make it smaller.",
            param=param,
        )
    return width * height
