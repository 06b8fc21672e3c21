"""What is said at a door and what comes back, in no door's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of one of the client's tools."""

    name: str
    arguments: str
    """JSON, if the model wrote JSON."""
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request; what is empty is not said."""

    said: str
    results: tuple[tuple[Call, str], ...] = ()
    """Calls that the model has made since, and what they gave."""
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    """Names; each takes a ``city``."""
    has_host_tools: bool = False
    """Whether it demands the host's tools, too."""
    choice: str | None = None
    """``none``, ``required``, or the tool that has to be called."""
    schema: Mapping[str, Any] | None = None
    session: str | None = None
    model: str | None = None
    tells_waits: bool = False
    """Whether what the request waits for is to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no answer, or no end of one."""

    code: str | None
    message: str
    status: int | None = None
    """Of HTTP, where the answer had not begun."""


class Failed(Exception):
    """Raised by adapters."""

    def __init__(self, code: str | None, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(code=code, message=message, status=status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A call that the host has made itself."""

    name: str
    text: str
    is_error: bool


@dataclass(slots=True)
class Outcome:
    """What has come back so far."""

    pieces: list[str] = field(default_factory=list)
    """Of the text, as they came; one, at a door that gives it whole."""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str | None = None
    """``stop``, ``length`` or ``tool_calls``."""
    detail: str | None = None
    """What the host has to say about the end, such as ``schema_violated``."""
    usage: tuple[int, int] | None = None
    """Tokens of the prompt and of the answer."""
    ran: list[Ran] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    """What the request has waited for; the places in the queue stand in it as numbers."""
    questions: list[str] = field(default_factory=list)
    """The ids of what somebody is asked."""
    failure: Failure | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def add_call_piece(self, index: int, *, call_id: str | None, name: str | None, arguments: str | None) -> None:
        """Add what has come of the call ``index``: first its id and its name, then its arguments."""
        if index == len(self.calls):
            self.calls.append(Call(name="", arguments=""))
        known = self.calls[index]
        self.calls[index] = Call(
            id=known.id + (call_id or ""),
            name=known.name + (name or ""),
            arguments=known.arguments + (arguments or ""),
        )
