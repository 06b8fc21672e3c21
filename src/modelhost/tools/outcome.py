"""The outcome of a call, for the model to read, whether it succeeded or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

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
"""``tool_failed``: the tool reported it. ``tool_connection_lost``: it may have run, and it is unknown how far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLimits:
    """How much of one result is passed to a model."""

    chars: int
    image_bytes: int
    """Of all its images together, and of all its sounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMedia:
    """What a tool returned besides text, in base64."""

    media_type: str
    data: str = field(repr=False)

    @property
    def size_bytes(self) -> int:
        return len(self.data.rstrip("=")) * 3 // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolImage(ToolMedia):
    """An image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSound(ToolMedia):
    """A file with sound."""


Medium = TypeVar("Medium", bound=ToolMedia)


class ToolOutcome(Struct, frozen=True, kw_only=True):
    """The outcome of a call, also of a failed, unknown, denied, late or malformed one."""

    name: str
    """The name in the call."""
    text: str
    """For the model; cut to the limit, with a note about that."""
    is_error: bool = False
    code: FailureCode | None = None
    server: str | None = None
    tool: str | None = None
    images: tuple[ToolImage, ...] = ()
    """For models with vision, up to the limit; the text mentions them."""
    sounds: tuple[ToolSound, ...] = ()
    """For models that hear, as above."""
    content: tuple[Mapping[str, Any], ...] = ()
    """The content blocks as the server sent them, uncut."""
    structured: Any = None
    seconds: float = 0.0
    was_cut: bool = False
    was_retried: bool = False
    """Whether the server was lost before the call was sent, and the call was sent on the next connection."""

    def __repr__(self) -> str:
        """Without what the tool returned, which does not belong into logs."""
        return f"ToolOutcome(name={self.name!r}, server={self.server!r}, is_error={self.is_error}, code={self.code!r})"


def fitting(media: tuple[Medium, ...], limit_bytes: int, kind: str = "images") -> tuple[tuple[Medium, ...], str]:
    """Return the first of ``media`` that fit together, and a note on those left out; empty if there are none."""
    kept: list[Medium] = []
    for each in media:
        if sum(one.size_bytes for one in (*kept, each)) > limit_bytes:
            break
        kept.append(each)
    if len(kept) == len(media):
        return media, ""
    return tuple(kept), f"[cut: the first {len(kept)} of {len(media)} {kind} are shown; the rest is too large]"


def cut(text: str, limit: int) -> tuple[str, bool]:
    """Return at most ``limit`` characters of ``text``, with a note if that is not all, and whether it was cut."""
    if len(text) <= limit:
        return text, False
    return f"{text[:limit]}\n[cut: the first {limit:,} of {len(text):,} characters are shown]", True
