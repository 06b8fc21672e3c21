"""What happens while images are made: the events of workers, which name their kind in the field ``event``."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from msgspec import Struct, field


class ImageStep(Struct, frozen=True, kw_only=True, tag_field="event", tag="progress"):
    """So many steps of an image are done."""

    index: int
    """The place of the image in the answer."""
    step: int
    steps: int


class PartialImage(Struct, frozen=True, kw_only=True, tag_field="event", tag="partial"):
    """An image as it looks in the middle of its steps."""

    index: int
    """The place among the partial images."""
    base64: str = field(name="b64_json")
    """The file in base64, as workers send it and clients get it."""


class FinishedImage(Struct, frozen=True, kw_only=True, tag_field="event", tag="image"):
    """A whole image."""

    index: int
    seed: int
    """Makes the same image again."""
    base64: str = field(name="b64_json")


class ImagesDone(Struct, frozen=True, kw_only=True, tag_field="event", tag="done"):
    """All images are there."""


class ImagesStarted(Struct, frozen=True, kw_only=True, tag_field="event", tag="started"):
    """What is being made."""

    width: int
    height: int
    tokens: int
    """Of the prompt and the negative prompt."""
    steps: int
    """Of each image, as far as is known."""


ImageEvent = ImageStep | PartialImage | FinishedImage
ImageEvents = AsyncGenerator[ImageEvent, None]
"""Ends once all images are there."""
