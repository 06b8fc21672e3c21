"""A server's wish to have a model write for it (``sampling/createMessage``), in the words of the chat API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRequest:
    """What to write. ``messages``, ``tools`` and ``tool_choice`` are as in a chat completion."""

    server: str
    messages: tuple[Mapping[str, Any], ...] = field(repr=False)
    max_tokens: int
    """What the server asks for, or what its policy allows, whichever is less."""
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    tool_choice: Literal["auto", "required", "none"] | None = None
    hints: tuple[str, ...] = ()
    """Names, or parts of names, of models; the first that fits is preferred."""
    cost_priority: float | None = None
    speed_priority: float | None = None
    intelligence_priority: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledCall:
    """A tool that the model wants to be called; the server calls it."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingAnswer:
    """What the model wrote."""

    text: str = field(repr=False)
    model: str
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    tool_calls: tuple[SampledCall, ...] = ()


class Sampler(Protocol):
    """Has a local model write."""

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Write the answer.

        Raises:
            ModelhostError: why it cannot; the message is sent to the server.
        """
        ...
