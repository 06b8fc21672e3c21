"""Images in a prompt.

A chat template writes one token for an image. In its place come the tokens of that image, of which most have no vector
of their own: the model computes those from the pixels. In the prompt of a request, such tokens have numbers beyond any
vocabulary that are derived from the content of the image. So the caches of prompts, which compare tokens, tell images
apart, and find an image again that a conversation begins with.
"""

from __future__ import annotations

import binascii
import hashlib
import itertools
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelhost.engines.worker.asgi import invalid
from modelhost.engines.worker.library import PlacedImage, ReadImage, UnreadableImage, Vision
from modelhost.exchange.media_kinds import IMAGE, UNREADABLE_IMAGE

FIRST_IMAGE_ID: Final = 1 << 62
"""From here on, a number in a prompt is part of an image."""
ID_BYTES: Final = 8
UNUSED_BITS: Final = 2
"""Of such a number: its sign, and the one that :data:`FIRST_IMAGE_ID` is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestImage:
    """An image of a request: its content, and how the model takes it."""

    data: bytes
    read: ReadImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt in tokens."""

    text: str
    """As the chat template wrote it."""
    tokens: list[int]
    """As the tokenizer has them."""
    ids: list[int]
    """The same, with numbers from :data:`FIRST_IMAGE_ID` on for what is part of an image."""
    images: tuple[PlacedImage, ...] = ()


def read_images(vision: Vision, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[RequestImage]]:
    """Return the chat request ``body`` and its images, in their order.

    In place of those that tools returned and that are unusable, the body has a text.

    Raises:
        ErrorResponse: another one is unusable; ``image`` is its number among all, from 1.
    """
    numbers, found = itertools.count(1), list[RequestImage]()
    messages = [_with_read_images(vision, message, numbers, found) for message in body["messages"]]
    return {**body, "messages": messages}, found


def _with_read_images(
    vision: Vision, message: Mapping[str, Any], numbers: Iterator[int], found: list[RequestImage]
) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = []
    for part in content:
        shown = part
        if part["type"] == IMAGE:
            number = next(numbers)
            try:
                found.append(_read(vision, part[IMAGE]["url"]))
            except UnreadableImage as error:
                if message["role"] != "tool":
                    reason = f"messages: the image cannot be read: {error}"
                    raise invalid(reason, param="messages", image=number) from error
                shown = {"type": "text", "text": UNREADABLE_IMAGE}
        parts.append(shown)
    return {**message, "content": parts}


def _read(vision: Vision, url: str) -> RequestImage:
    """Return the image in a data URL, of which the host has checked the beginning."""
    try:
        data = b64decode(url.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise UnreadableImage("it is not in base64") from error
    return RequestImage(data=data, read=vision.read(data))


def prompt_with_images(text: str, tokens: Sequence[int], images: Sequence[RequestImage], image_token: int) -> Prompt:
    """Return the prompt in which each ``image_token`` of ``tokens`` is the next of ``images``, which are as many."""
    expanded, ids, placed = list[int](), list[int](), list[PlacedImage]()
    following = iter(images)
    for token in tokens:
        if token != image_token:
            expanded.append(token)
            ids.append(token)
            continue
        image = next(following)
        own = np.asarray(image.read.tokens, np.int64)
        places = np.flatnonzero(own == image_token)
        placed.append(PlacedImage(places=places + len(ids), inputs=image.read.inputs))
        expanded += own.tolist()
        own[places] = _numbers(image.data, len(places))
        ids += own.tolist()
    return Prompt(text=text, tokens=expanded, ids=ids, images=tuple(placed))


def without_images(ids: Sequence[int]) -> Sequence[int]:
    """Return the tokens of a prompt that are in the vocabulary."""
    return [number for number in ids if number < FIRST_IMAGE_ID]


def _numbers(data: bytes, count: int) -> Any:
    """Return ``count`` numbers that depend on all of ``data``.

    All are different: of a few bits each, another image could be made that has the same.
    """
    digest = hashlib.shake_256(data).digest(ID_BYTES * count)
    numbers = np.frombuffer(digest, np.uint64) >> np.uint64(UNUSED_BITS)
    return (numbers | np.uint64(FIRST_IMAGE_ID)).astype(np.int64)
