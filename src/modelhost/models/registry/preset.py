"""What every conversation with a model begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelhost.exchange.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The beginning of the conversations with a model."""

    system: str | None = None
    """The system message of conversations that bring none."""
    messages: tuple[Message, ...] = ()
    """Messages between the system message and those of the request."""


NO_PRESET: Final = Preset()
