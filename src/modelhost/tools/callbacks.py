"""What MCP servers may request from the host (approval, elicitation, sampling), and what they report to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from modelhost import lazy
from modelhost.tools.entry import Approval

STRICTNESS: Final[tuple[Approval, ...]] = ("auto", "read_only", "ask", "deny")
Verdict = Literal["run", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """A request for approval: of a tool call, or of a server's sampling request."""

    kind: Literal["tool", "sampling"]
    server: str
    name: str
    """The tool's name for models; for sampling the server's name."""
    tool: str | None
    """The original name; for sampling that of the tool whose call needs it, if known."""
    arguments: Mapping[str, Any] = field(repr=False)
    annotations: Mapping[str, Any]
    """The tool's own hints, such as ``readOnlyHint`` and ``title``."""


def stricter(one: Approval, other: Approval | None) -> Approval:
    """Return the stricter of the two rules."""
    return one if other is None else max(one, other, key=STRICTNESS.index)


def verdict(approval: Approval, *, is_read_only: bool) -> Verdict:
    """Return what to do with a call. ``is_read_only`` is what the tool declares (``readOnlyHint``)."""
    match approval:
        case "auto":
            return "run"
        case "read_only":
            return "run" if is_read_only else "ask"
        case _:
            return approval


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """The progress of a call, in the tool's own unit."""

    server: str
    tool: str
    progress: float
    total: float | None
    message: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLogLine:
    """A log message that a server sent during a call."""

    server: str
    level: str
    logger: str | None
    data: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElicitationRequest:
    """A server's request for information from the user."""

    server: str
    tool: str
    message: str = field(repr=False)
    mode: Literal["form", "url"] = "form"
    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """For a form: the JSON schema of a flat object."""
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElicitationAnswer:
    """The user's answer. ``content`` comes with an accepted form."""

    action: Literal["accept", "decline", "cancel"]
    content: Mapping[str, str | int | float | bool | list[str] | None] | None = field(default=None, repr=False)


class CallContext(Struct, frozen=True, kw_only=True):
    """The callbacks and limits of one call. Asking a user pauses the server's timeout, but not the deadline."""

    approve: Callable[[ApprovalRequest], Awaitable[bool | None]] | None = None
    """Returns whether the call may run; ``None``: there was no answer."""
    elicit: Callable[[ElicitationRequest], Awaitable[ElicitationAnswer]] | None = None
    on_progress: Callable[[ToolProgress], Awaitable[None]] | None = None
    on_log: Callable[[ToolLogLine], Awaitable[None]] | None = None
    deadline: float | None = None
    """In the time of the event loop."""
    approval: Approval | None = None
    """The rule of the request; the stricter of this and the entry's applies."""
    granted: frozenset[str] | None = None
    """The tools of the request, by their names for models; no others exist for it. ``None``: all."""
    depth: int = 0
    """The number of tool calls around the request that makes this one; the server gets one more."""
    call_id: str | None = None
    """The model's id of the call."""


NO_CONTEXT = CallContext()

Content = dict[str, str | int | float | bool | list[str] | None]


def filled_in(schema: Mapping[str, Any], content: Mapping[str, Any]) -> Content:
    """Return ``content`` of an accepted form with the form's defaults; ``None`` is a field that was left out."""
    fields = schema.get("properties") or {}
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    return {**defaults, **{name: value for name, value in content.items() if value is not None}}


def problems_of(schema: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with ``content``, in sentences for the user who filled in the form."""
    return lazy.tool_arguments.ArgumentCheck(dict(schema), checks_formats=True).problems(filled_in(schema, content))


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRequest:
    """A server's request for a completion (``sampling/createMessage``), in the terms of the chat API."""

    server: str
    messages: tuple[Mapping[str, Any], ...] = field(repr=False)
    max_tokens: int
    """What the server requests or its policy allows, whichever is less."""
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
    """A tool call that the model requests; the server makes it."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingAnswer:
    """The model's answer."""

    text: str = field(repr=False)
    model: str
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    tool_calls: tuple[SampledCall, ...] = ()


class Sampler(Protocol):
    """Answers sampling requests with a local model."""

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Return the answer.

        Raises:
            ModelhostError: why it cannot; the message is sent to the server.
        """
        ...
