"""What became of a call: for the model to read, whether it went well or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct

FailureCode = Literal[
    "tool_not_found",
    "tool_server_unavailable",
    "tool_denied",
    "invalid_arguments",
    "tool_timeout",
    "tool_failed",
    "tool_connection_lost",
    "tool_invalid_result",
]
"""``tool_failed``: the tool itself says so. ``tool_connection_lost``: it may have run, nobody knows how far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLimits:
    """How much of one result a model gets."""

    chars: int
    image_bytes: int
    """Of all its images together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolImage:
    """An image that a tool returned, in base64."""

    media_type: str
    data: str = field(repr=False)

    @property
    def size_bytes(self) -> int:
        return len(self.data.rstrip("=")) * 3 // 4


class ToolOutcome(Struct, frozen=True, kw_only=True):
    """The result of a call. A failed, unknown, denied, late or malformed call is one too."""

    name: str
    """The name that was called."""
    text: str
    """For the model; cut to the limit, with a note that says so."""
    is_error: bool = False
    code: FailureCode | None = None
    server: str | None = None
    tool: str | None = None
    images: tuple[ToolImage, ...] = ()
    """For models that can see, up to the limit; the text mentions them."""
    content: tuple[Mapping[str, Any], ...] = ()
    """The content blocks as the server sent them, uncut."""
    structured: Any = None
    seconds: float = 0.0
    was_cut: bool = False
    was_retried: bool = False
    """Whether the server was lost before the call was sent, and the call was sent to its successor."""

    def __repr__(self) -> str:
        """Without what the tool returned, which does not belong into logs."""
        return f"ToolOutcome(name={self.name!r}, server={self.server!r}, is_error={self.is_error}, code={self.code!r})"


def fitting(images: tuple[ToolImage, ...], limit_bytes: int) -> tuple[tuple[ToolImage, ...], str]:
    """The first of ``images`` that fit together, and a note on those left out; it is empty if that is none."""
    kept: list[ToolImage] = []
    for image in images:
        if sum(each.size_bytes for each in (*kept, image)) > limit_bytes:
            break
        kept.append(image)
    if len(kept) == len(images):
        return images, ""
    return tuple(kept), f"[cut: the first {len(kept)} of {len(images)} images are shown; the rest is too large]"


def cut(text: str, limit: int) -> tuple[str, bool]:
    """``text`` with at most ``limit`` characters of it, and a note if that is not all."""
    if len(text) <= limit:
        return text, False
    return f"{text[:limit]}\n[cut: the first {limit:,} of {len(text):,} characters are shown]", True
