"""How a request goes on with a stored conversation: what it adds, and what the model is asked.

A client may send what is new only, or everything every time, as OpenAI's API wants it. Then the stored conversation
stands in the request as a run, and what follows the run is new. The two are compared as a client sees them: the calls
that the host ran itself between question and answer are in none of its messages.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import orjson
from msgspec.structs import replace

from modelhost import json_text
from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import SYSTEM_ROLES, Message, ToolCall, part_json

OF_MODEL: Final = frozenset({"assistant", "tool", "function"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """A request in a conversation."""

    system: Message | None
    """The system message of the request, which takes the place of the stored one."""
    new: tuple[Message, ...]
    """What the request adds."""
    conversation: tuple[Message, ...]
    """All that the model is asked."""


def continued(stored: Sequence[Message], given: Sequence[Message]) -> Continuation:
    """Return how ``given``, the messages of a request, go on with the ``stored`` conversation.

    System messages that stand at the beginning count as one; elsewhere they are messages like others.

    Raises:
        InvalidRequest: the request adds nothing.
    """
    stored_system, history = _split(stored)
    given_system, messages = _split(given)
    new = _after(history, messages)
    if history and not new:
        raise InvalidRequest(
            "messages: nothing here is new to the session; send a message to answer.", param="messages"
        )
    system = given_system or stored_system
    conversation = (*(() if system is None else (system,)), *history, *new)
    return Continuation(system=given_system, new=tuple(new), conversation=conversation)


def _split(messages: Sequence[Message]) -> tuple[Message | None, Sequence[Message]]:
    """Return the system messages at the beginning as one, and the others."""
    first = list(takewhile(lambda message: message.role in SYSTEM_ROLES, messages))
    if not first:
        return None, messages
    if len(first) == 1:
        return first[0], messages[1:]
    text = "\n\n".join(message.text for message in first)
    return replace(first[0], content=text), messages[len(first) :]


def _after(history: Sequence[Message], messages: Sequence[Message]) -> Sequence[Message]:
    """Return what follows the last run in ``messages`` that is ``history``; without one all of them are new."""
    if not history:
        return messages
    waits_for_results = bool(history[-1].tool_calls)  # of calls that the client makes, so it sees them
    for read in (_each,) if waits_for_results else (_each, _as_seen):
        known, given = read(history), read(messages)
        for start in range(len(given) - len(known), -1, -1):
            run = given[start : start + len(known)]
            if all(one.what == other.what for one, other in zip(known, run, strict=True)):
                return messages[run[-1].end :]
    return messages


@dataclass(frozen=True, slots=True)
class _Said:
    """Something that was said, and where what comes next begins."""

    what: Hashable
    end: int


def _each(messages: Sequence[Message]) -> list[_Said]:
    """Return each message, in a form that is the same however a client writes it."""
    return [_Said(_normal(message), at) for at, message in enumerate(messages, start=1)]


def _as_seen(messages: Sequence[Message]) -> list[_Said]:
    """Return what a client that leaves the calls to the host sees: the texts of the model between two of its own."""
    said: list[_Said] = []
    texts: list[str] = []
    for at, message in enumerate(messages, start=1):
        if message.role not in OF_MODEL:
            said.append(_Said(_normal(message), at))
            texts = []
            continue
        if texts:
            said.pop()
        texts.append(message.text if message.role == "assistant" else "")
        said.append(_Said(("assistant", "".join("".join(texts).split())), at))
    return said


def _normal(message: Message) -> Hashable:
    calls = tuple(map(_normal_call, message.tool_calls or ()))
    return message.role, message.text.strip(), _media(message), calls, message.tool_call_id


def _normal_call(call: ToolCall) -> Hashable:
    if call.input is not None:
        return call.id, call.name, call.input
    try:
        arguments = call.arguments or "{}"
        arguments = json_text.decoded(arguments) if isinstance(arguments, str) else arguments
        written = json_text.encoded(arguments, option=orjson.OPT_SORT_KEYS)
    except (ValueError, orjson.JSONEncodeError):
        return call.id, call.name, str(call.arguments)
    return call.id, call.name, written


def _media(message: Message) -> Hashable:
    others = [part_json(part) for part in message.media]
    return orjson.dumps(others, option=orjson.OPT_SORT_KEYS) if others else ()
