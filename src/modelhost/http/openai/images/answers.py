"""Images as the answers and events of OpenAI's API."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelhost.exchange.images import FinishedImage, ImagesStarted, ImageStep, PartialImage
from modelhost.exchange.sse import encode_event

OPAQUE: Final = "opaque"
USAGE_END: Final = b"}}\n\n"
"""The end of an event with a usage, which only whole images have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnswer:
    """Writes an answer."""

    operation: str
    """The beginning of the names of its events."""
    form: str
    """The format of its images."""
    started: ImagesStarted
    count: int
    """Of the images."""

    @property
    def _size(self) -> str:
        return f"{self.started.width}x{self.started.height}"

    @property
    def _usage(self) -> dict[str, Any]:
        """The tokens of the prompts: these models count steps, not tokens of images."""
        tokens = self.started.tokens
        return {
            "input_tokens": tokens,
            "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
            "output_tokens": 0,
            "total_tokens": tokens,
            "images": self.count,
            "steps": self.started.steps,
        }

    def progress(self, event: ImageStep) -> bytes:
        """Return the event that so many steps are done, an extension for clients that ask for it."""
        fields = {"image_index": event.index, "step": event.step, "steps": event.steps}
        return _named({"type": f"{self.operation}.progress", **fields})

    def partial(self, event: PartialImage) -> bytes:
        """Return the event with an unfinished image."""
        return _named({**self._image("partial_image", event.base64), "partial_image_index": event.index})

    def completed(self, image: FinishedImage) -> bytes:
        """Return the event with a whole image; nothing else ends with :data:`USAGE_END`."""
        fields = {"image_index": image.index, "seed": image.seed, "usage": self._usage}
        return _named({**self._image("completed", image.base64), **fields})

    def whole(self, data: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the answer with the images in ``data``."""
        return {
            "created": int(time.time()),
            "background": OPAQUE,
            "data": list(data),
            "output_format": self.form,
            "size": self._size,
            "usage": self._usage,
        }

    def _image(self, kind: str, data: str) -> dict[str, Any]:
        return {
            "type": f"{self.operation}.{kind}",
            "b64_json": data,
            "background": OPAQUE,
            "created_at": int(time.time()),
            "output_format": self.form,
            "quality": "auto",
            "size": self._size,
        }


def _named(event: dict[str, Any]) -> bytes:
    """Return ``event`` with its type as the name of the server-sent event, too, as OpenAI's API sends images."""
    return b"event: " + str(event["type"]).encode() + b"\n" + encode_event(event)
