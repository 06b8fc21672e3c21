"""What MCP servers and their tools may ask of the host (approval, elicitation, sampling), and where their news go."""

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
    """What someone is asked to agree to: one call of a tool, or a server's wish to have a model write for it."""

    kind: Literal["tool", "sampling"]
    server: str
    name: str
    """As the model knows the tool; for sampling the server's name."""
    tool: str | None
    """The original name; for sampling that of the tool whose call wants it, if it is known."""
    arguments: Mapping[str, Any] = field(repr=False)
    annotations: Mapping[str, Any]
    """The tool's own hints, such as ``readOnlyHint`` and ``title``."""


def stricter(one: Approval, other: Approval | None) -> Approval:
    """The one of both that lets less through."""
    return one if other is None else max(one, other, key=STRICTNESS.index)


def verdict(approval: Approval, *, is_read_only: bool) -> Verdict:
    """What to do with a call. ``is_read_only`` is the tool's own word (``readOnlyHint``)."""
    match approval:
        case "auto":
            return "run"
        case "read_only":
            return "run" if is_read_only else "ask"
        case _:
            return approval


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """How far a call has come, in the tool's own unit."""

    server: str
    tool: str
    progress: float
    total: float | None
    message: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLogLine:
    """A log message that a server sent while it worked on a call."""

    server: str
    level: str
    logger: str | None
    data: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElicitationRequest:
    """What a server wants to know from the person who is there."""

    server: str
    tool: str
    message: str = field(repr=False)
    mode: Literal["form", "url"] = "form"
    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """JSON schema of a flat object, for a form."""
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElicitationAnswer:
    """What the person says. ``content`` goes with ``accept`` of a form."""

    action: Literal["accept", "decline", "cancel"]
    content: Mapping[str, str | int | float | bool | list[str] | None] | None = field(default=None, repr=False)


class CallContext(Struct, frozen=True, kw_only=True):
    """The surroundings of one call. While a person is asked, the server's timeout stands still, the deadline not."""

    approve: Callable[[ApprovalRequest], Awaitable[bool | None]] | None = None
    """Whether the call may run; ``None``: nobody has said so."""
    elicit: Callable[[ElicitationRequest], Awaitable[ElicitationAnswer]] | None = None
    on_progress: Callable[[ToolProgress], Awaitable[None]] | None = None
    on_log: Callable[[ToolLogLine], Awaitable[None]] | None = None
    deadline: float | None = None
    """In the time of the event loop."""
    approval: Approval | None = None
    """What the request says; the stricter of this and the entry's counts."""
    depth: int = 0
    """In how many calls of tools the request that makes this one stands already; the server is told one more."""


NO_CONTEXT = CallContext()

Content = dict[str, str | int | float | bool | list[str] | None]


def filled_in(schema: Mapping[str, Any], content: Mapping[str, Any]) -> Content:
    """What a form holds that was accepted with ``content``: its defaults too; `null` is a field that was left out."""
    fields = schema.get("properties") or {}
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    return {**defaults, **{name: value for name, value in content.items() if value is not None}}


def problems_of(schema: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """What is wrong with ``content``, in sentences for whoever filled it in."""
    return lazy.tool_arguments.ArgumentCheck(dict(schema), checks_formats=True).problems(filled_in(schema, content))


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
