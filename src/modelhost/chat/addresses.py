"""What a request gives as addresses: images, and the texts of documents. The host puts the contents in their place.

No engine gets an address, since it would fetch whatever is there. The host does so if its setting ``fetch_urls``
permits it, from public addresses (:mod:`modelhost.fetching.guard`).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from modelhost import lazy
from modelhost.chat.images import blind, url_of
from modelhost.chat.media.image_files import FORMATS, image_type
from modelhost.config.settings import Settings
from modelhost.errors import FetchFailed, FetchRefused, InvalidRequest
from modelhost.exchange.media_kinds import IMAGE
from modelhost.exchange.messages import LinkedText, MediaPart, Message, Part, TextPart, has_parts
from modelhost.exchange.requests import ChatRequest
from modelhost.models.residency.hosted import HostedModel

if TYPE_CHECKING:
    from modelhost.fetching.fetcher import ByteBudget, Fetched, Fetcher

MOST: Final = 20
"""Addresses in one request."""
BYTES_PER_MB: Final = 1_000_000
SCHEMES: Final = ("http://", "https://")
UNTYPED: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""Types with which storage services serve images too; what they are is seen when they are there."""


class _Wanted(NamedTuple):
    """Something at an address; what it is decides about how it is read."""

    url: str
    is_text: bool


def has_addresses(messages: Sequence[Message]) -> bool:
    """Whether an image or a document of a conversation is at an address."""
    return has_parts(messages) and any(True for _ in _all_in(messages))


def _all_in(messages: Sequence[Message]) -> Iterator[tuple[str, _Wanted]]:
    for at, message in enumerate(messages):
        if isinstance(message.content, tuple):
            for index, part in enumerate(message.content):
                if (wanted := _wanted_by(part)) is not None:
                    assert isinstance(part, LinkedText | MediaPart)
                    yield part.place or f"messages[{at}].content[{index}]", wanted


def _wanted_by(part: Part) -> _Wanted | None:
    if isinstance(part, LinkedText):
        return _Wanted(part.url, is_text=True)
    url = url_of(part.extra) if isinstance(part, MediaPart) and part.kind == IMAGE else None
    return None if url is None or not url.lower().startswith(SCHEMES) else _Wanted(url, is_text=False)


class Addresses:
    """Fetches what the requests of a host have at addresses."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def with_contents(self, request: ChatRequest, model: HostedModel) -> ChatRequest:
        """Return ``request``, for ``model``, with contents in place of its addresses, fetched concurrently, each once.

        Raises:
            UnsupportedOperation: the model does not accept images.
            FetchRefused: the setting or an address does not permit it; ``param`` is the path.
            FetchFailed: something cannot be fetched, or cannot be used.
            InvalidRequest: there are too many.
        """
        places: dict[_Wanted, str] = {}
        for place, wanted in _all_in(request.messages):
            if not wanted.is_text and model.sees_images is False:
                raise blind(model.name, place, model.why_blind)
            if not self._settings.fetch_urls:
                raise FetchRefused(
                    f"{place}: the host fetches no images and no documents: send the contents in the request, as "
                    "base64. Whoever runs the host can have it fetch them with the setting fetch_urls.",
                    param=place,
                )
            places.setdefault(wanted, place)
        if len(places) > MOST:
            raise InvalidRequest(
                f"messages: the host fetches {MOST} addresses at most, not {len(places)}.", param="messages"
            )
        contents = await self._contents(places) if places else {}
        return replace(request, messages=tuple(_with(message, contents) for message in request.messages))

    async def _contents(self, places: Mapping[_Wanted, str]) -> Mapping[_Wanted, str]:
        budget = lazy.fetching.ByteBudget(int(self._settings.max_body_mb * BYTES_PER_MB))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    wanted: group.create_task(self._content(wanted, place, budget)) for wanted, place in places.items()
                }
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return {wanted: task.result() for wanted, task in tasks.items()}

    async def _content(self, wanted: _Wanted, place: str, budget: ByteBudget) -> str:
        """Return the text, or the image as a data URL."""
        accepts, read = (_is_text, _text_in) if wanted.is_text else (_may_be_image, _image_in)
        try:
            return read(await self._fetcher.fetch(wanted.url, budget=budget, accepts=accepts))
        except (FetchRefused, FetchFailed) as error:
            raise type(error)(f"{place}: {error.message}", param=place) from error

    @cached_property
    def _fetcher(self) -> Fetcher:
        return lazy.fetching.Fetcher(lazy.fetch_guard.Guard(self._settings.fetch_hosts))


def _with(message: Message, contents: Mapping[_Wanted, str]) -> Message:
    if not isinstance(message.content, tuple) or not any(map(_wanted_by, message.content)):
        return message
    return replace(message, content=tuple(_replaced(part, contents) for part in message.content))


def _replaced(part: Part, contents: Mapping[_Wanted, str]) -> Part:
    wanted = _wanted_by(part)
    if wanted is None:
        return part
    if not isinstance(part, MediaPart):
        return TextPart(contents[wanted])
    return replace(part, extra={**part.extra, IMAGE: {**part.extra[IMAGE], "url": contents[wanted]}})


def _may_be_image(media_type: str) -> bool:
    return media_type.startswith("image/") or media_type in UNTYPED


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/")


def _image_in(fetched: Fetched) -> str:
    kind = image_type(fetched.content)
    if kind is None:
        raise FetchFailed(f"what is at this address is none of {FORMATS}.")
    return f"data:{kind};base64,{base64.b64encode(fetched.content).decode()}"


def _text_in(fetched: Fetched) -> str:
    try:
        return fetched.content.decode(fetched.charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        raise FetchFailed("what is at this address is not text in the encoding that its server says.") from None
