"""What becomes of a session when messages are added to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from modelhost.state.cutting import staying
from modelhost.state.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A message at its place; places only grow, and none is used twice. ``body`` is its JSON."""

    position: int
    message: Message
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A session as it is in the database. ``revision`` is another one after every change, whoever makes it."""

    revision: int
    model: str | None
    system: tuple[Message, ...]
    lines: tuple[Line, ...]
    next_position: int

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, those of the system first."""
        return (*self.system, *(line.message for line in self.lines))

    @property
    def size_bytes(self) -> int:
        """What all messages take, as JSON."""
        return sum(len(orjson.dumps(message)) for message in self.system) + sum(len(line.body) for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What is to be added; a system message and a model take the place of those before."""

    messages: tuple[Message, ...]
    system: Message | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The session afterwards, the lines that are new in it and the places of those that left it."""

    after: Stored
    added: tuple[Line, ...]
    removed: tuple[int, ...]


def numbered(messages: Sequence[Message], first: int = 0) -> tuple[Line, ...]:
    """Return ``messages`` at places from ``first`` on."""
    return tuple(
        Line(position=position, message=message, body=orjson.dumps(message))
        for position, message in enumerate(messages, first)
    )


def grown(before: Stored | None, addition: Addition, *, revision: int, most_messages: int) -> Growth:
    """Return what ``before`` (``None``: a new session) becomes, cut to ``most_messages``."""
    old = before or Stored(revision=0, model=None, system=(), lines=(), next_position=0)
    added = numbered(addition.messages, old.next_position)
    system = old.system if addition.system is None else (addition.system,)
    lines = (*old.lines, *added)
    # A system message is told from the first line by its place, not by its role: a line may have that role too.
    places = staying([*system, *(line.message for line in lines)], most_messages)
    kept = tuple(lines[place - len(system)] for place in places if place >= len(system))
    positions = {line.position for line in kept}
    return Growth(
        after=Stored(
            revision=revision,
            model=addition.model or old.model,
            system=system,
            lines=kept,
            next_position=old.next_position + len(added),
        ),
        added=tuple(line for line in added if line.position in positions),
        removed=tuple(line.position for line in old.lines if line.position not in positions),
    )
