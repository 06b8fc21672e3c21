"""What a call of a tool brings along: who can be asked, who is told, and until when it may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct

from modelhost.tools.approval import ApprovalRequest
from modelhost.tools.entry import Approval


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
