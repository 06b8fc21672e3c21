"""Which messages of a conversation stay when it grows over its limit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelhost.state.records import Message, system_and_rest


def cut(messages: Sequence[Message], limit: int) -> tuple[Message, ...]:
    """Return what stays of ``messages``; see :func:`staying`."""
    return tuple(messages[at] for at in staying(messages, limit))


def staying(messages: Sequence[Message], limit: int) -> Sequence[int]:
    """Return which of ``messages`` stay, by their places: at most ``limit`` of them; the oldest go first.

    The system messages at the beginning stay. Whole turns go, each from a user's message to the next one's. Where the
    last turn alone is over the limit, its user's message and its newest parts stay; a part is a message, or an
    assistant's message with the results of the tools that it calls. A part is never taken apart: only where system,
    user's message and the last part are over the limit, more than ``limit`` messages stay.
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
    """The places of what must not be taken apart, in order; what follows a user's message is no result of a tool."""
    start = begin
    for at in range(begin + 1, len(messages) + 1):
        if at < len(messages) and messages[at].get("role") in {"tool", "function"}:
            continue
        yield range(start, at)
        start = at
