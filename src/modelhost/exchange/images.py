"""What happens while images are made."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from msgspec import Struct


class ImageStep(Struct, frozen=True, kw_only=True):
    """So many steps of an image are done."""

    index: int
    """The place of the image in the answer."""
    step: int
    steps: int


class PartialImage(Struct, frozen=True, kw_only=True):
    """An image as it looks in the middle of its steps."""

    index: int
    """The place among the partial images."""
    base64: str
    """The file in base64, as workers send it and clients get it."""


class FinishedImage(Struct, frozen=True, kw_only=True):
    """A whole image."""

    index: int
    seed: int
    """Makes the same image again."""
    base64: str


class ImagesDone(Struct, frozen=True, kw_only=True):
    """All images are there."""


class ImagesStarted(Struct, frozen=True, kw_only=True):
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
