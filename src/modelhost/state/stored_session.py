"""A session as it is stored: what becomes of it when messages are added, and which stay over its limit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from modelhost.state.records import Message, system_and_rest


def trim(messages: Sequence[Message], limit: int) -> tuple[Message, ...]:
    """Return the ``messages`` that are kept; see :func:`kept_positions`."""
    return tuple(messages[at] for at in kept_positions(messages, limit))


def kept_positions(messages: Sequence[Message], limit: int) -> Sequence[int]:
    """Return the positions of the ``messages`` that are kept, at most ``limit``; the oldest are dropped first.

    The system messages at the beginning are kept. Whole turns are dropped, each from a user's message to the next one.
    If the last turn alone exceeds the limit, its user's message and its newest parts are kept; a part is a message, or
    an assistant's message with the results of its tool calls. A part is never split: more than ``limit`` messages are
    kept only if the system messages, the user's message and the last part exceed it.
    """
    if len(messages) <= limit:
        return range(len(messages))
    rest = len(system_and_rest(messages)[0])
    parts = list(_parts(messages, rest))
    turns = [at for at, part in enumerate(parts) if messages[part[0]].get("role") == "user"]
    for turn in turns:
        if len(messages) - parts[turn][0] <= limit - rest:
            return (*range(rest), *range(parts[turn][0], len(messages)))
    question = parts[turns[-1]] if turns else range(0)
    answer = parts[turns[-1] + 1 :] if turns else parts
    space = limit - rest - len(question)
    newest = next((part for part in answer if len(messages) - part[0] <= space), answer[-1] if answer else range(0))
    return (*range(rest), *question, *(range(newest[0], len(messages)) if newest else ()))


def _parts(messages: Sequence[Message], begin: int) -> Iterator[range]:
    """Yield the positions of the parts, in order; no tool result follows a user's message directly."""
    start = begin
    for at in range(begin + 1, len(messages) + 1):
        if at < len(messages) and messages[at].get("role") in {"tool", "function"}:
            continue
        yield range(start, at)
        start = at


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message with its position; positions only grow and are not reused. ``body`` is its JSON."""

    position: int
    message: Message
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session in the database. Every change gives it another ``revision``."""

    revision: int
    model: str | None
    system: tuple[Message, ...]
    lines: tuple[StoredMessage, ...]
    next_position: int

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, the system messages first."""
        return (*self.system, *(line.message for line in self.lines))

    @property
    def size_bytes(self) -> int:
        """The size of all messages as JSON."""
        return sum(len(orjson.dumps(message)) for message in self.system) + sum(len(line.body) for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Messages to append; a system message and a model replace the previous ones."""

    messages: tuple[Message, ...]
    system: Message | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """The session afterwards, its new messages, and the positions of those that were dropped."""

    after: StoredSession
    added: tuple[StoredMessage, ...]
    removed: tuple[int, ...]


def with_positions(messages: Sequence[Message], first: int = 0) -> tuple[StoredMessage, ...]:
    """Return ``messages`` with positions from ``first`` on."""
    return tuple(
        StoredMessage(position=position, message=message, body=orjson.dumps(message))
        for position, message in enumerate(messages, first)
    )


def append(before: StoredSession | None, addition: Addition, *, revision: int, most_messages: int) -> SessionChange:
    """Return ``before`` (``None``: a new session) with the addition, trimmed to ``most_messages``."""
    old = before or StoredSession(revision=0, model=None, system=(), lines=(), next_position=0)
    added = with_positions(addition.messages, old.next_position)
    system = old.system if addition.system is None else (addition.system,)
    lines = (*old.lines, *added)
    # System messages are known by their position, not by their role: other messages may have that role, too.
    places = kept_positions([*system, *(line.message for line in lines)], most_messages)
    kept = tuple(lines[place - len(system)] for place in places if place >= len(system))
    positions = {line.position for line in kept}
    return SessionChange(
        after=StoredSession(
            revision=revision,
            model=addition.model or old.model,
            system=system,
            lines=kept,
            next_position=old.next_position + len(added),
        ),
        added=tuple(line for line in added if line.position in positions),
        removed=tuple(line.position for line in old.lines if line.position not in positions),
    )
