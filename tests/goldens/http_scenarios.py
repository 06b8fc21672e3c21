"""What is sent to hosts over HTTP, declared: a scenario is a few requests that belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.serving import ServedHost


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Its answer has come so far that ``text`` was in it so many ``times``."""

    text: str
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The host's metric ``name`` has the ``value``."""

    name: str
    value: float = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; ``$name`` in its path, headers and body is what an earlier one kept under that name."""

    line: str
    """``METHOD PATH``."""
    body: Any = None
    """Sent as JSON; bytes and text are sent as they are."""
    headers: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, str] = field(default_factory=dict)
    """Names for parts of the answer: a regular expression with one group, looked for in headers and body."""
    held_until: Said | Metric | None = None
    """The scenario goes on when that is so; what is answered is recorded at its end."""
    leaves_after: Said | None = None
    """The client leaves at the end of the scenario, when this has come; what follows it is not recorded."""
    host: str = "main"
    """To which of the hosts."""
    may_miss: str | None = None
    """A text: headers and events with it are left out, since whether they come is a matter of time."""
    shows_body: bool = True
    """Whether the body of the answer is recorded here (it may be a golden of its own)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that is done to a host between requests."""

    about: str
    does: Callable[[Mapping[str, ServedHost]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Bytes that no client sends; the answer is what comes until the host closes the connection."""

    sent: bytes
    host: str = "main"


Step = Request | Act | Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Steps one after the other."""

    name: str
    steps: tuple[Step, ...]


def one(name: str, line: str, body: Any = None, **more: Any) -> Scenario:
    """A scenario of one request."""
    return Scenario(name=name, steps=(Request(line=line, body=body, **more),))


def chat(said: str, **fields: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"messages": [{"role": "user", "content": said}], **fields}


CHAT = "POST /v1/chat/completions"
BEGUN = Said(text="data:", times=2)
"""A stream of the scripted engine that hangs after its first token has sent what it sends."""
