"""The room in a model's context: tool results are truncated to it, and tools that overflow it are reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from msgspec.structs import replace

from modelhost.errors import ContextLengthExceeded
from modelhost.exchange.bodies import tool_json
from modelhost.exchange.messages import Message, TextPart
from modelhost.exchange.requests import Tool

ANSWER_SHARE: Final = 8
"""One part in so many of the context is kept for what the model writes, up to as much as :data:`ANSWER_TOKENS`."""
ANSWER_TOKENS: Final = 512
LEAST_CHARS: Final = 40
"""Of a result; with less of it the note at the cut says more than the result does."""
MARGIN: Final = 0.95
"""Tokens are counted for the whole prompt only: a part of a text may have more of them than its share."""
UNCOUNTED: Final = 0.5
"""What stays where nobody says how many tokens there are: less and less, until it fits."""
NOTE_CHARS: Final = 100


def shorter(
    messages: Sequence[Message], limit: int | None, error: ContextLengthExceeded, tokens_before: int
) -> int | None:
    """Return how many characters each result of a tool among ``messages`` may have, so that the prompt fits.

    They were sent with ``limit`` characters at most, and refused with ``error``, which says how many tokens the prompt
    has; ``tokens_before`` is how many it has without them. ``None`` if there would be nothing left of them.
    """
    lengths = [len(text) for message in messages if (text := _result_in(message)) is not None]
    sent = [length if limit is None else min(length, limit) for length in lengths]
    room = int(sum(sent) * _share(error, tokens_before)) - NOTE_CHARS * len(sent)
    found = _longest(sent, room)
    return found if sent and found >= LEAST_CHARS else None


def cut_to(messages: Sequence[Message], limit: int | None) -> list[Message]:
    """Return ``messages`` with at most ``limit`` characters of each result of a tool, and a note at the cut."""
    return list(messages) if limit is None else [_cut(message, limit) for message in messages]


def _share(error: ContextLengthExceeded, tokens_before: int) -> float:
    """How much of the results can stay."""
    tokens, context = error.details.get("prompt_tokens"), error.details.get("context_length")
    if not isinstance(tokens, int) or not isinstance(context, int) or tokens <= tokens_before:
        return UNCOUNTED
    room = context - answer_tokens(context) - tokens_before
    return max(0.0, min(MARGIN, MARGIN * room / (tokens - tokens_before)))


def answer_tokens(context: int) -> int:
    """Return how many tokens of a context are kept for what the model writes."""
    return min(context // ANSWER_SHARE, ANSWER_TOKENS)


def _longest(lengths: Sequence[int], room: int) -> int:
    """The length at which texts of ``lengths`` are to be cut, so that they take ``room`` together."""
    rest = sorted(lengths)
    while rest and rest[0] * len(rest) <= room:
        room -= rest.pop(0)
    return room // len(rest) if rest else max(lengths, default=0)


def _result_in(message: Message) -> str | None:
    """Return the result of a tool that ``message`` is, if it is one and text."""
    return message.content if message.role == "tool" and isinstance(message.content, str) else None


def _cut(message: Message, limit: int) -> Message:
    text = _result_in(message)
    if text is None or len(text) <= limit:
        return message
    note = f"[cut: the first {limit:,} characters of {len(text):,} are shown; the context of the model holds no more]"
    return replace(message, content=f"{text[:limit]}\n{note}")


def text_of(messages: Sequence[Message]) -> str:
    """Return the text of ``messages``, to be counted."""
    return "\n".join(text for message in messages for text in _texts_in(message))


def _texts_in(message: Message) -> list[str]:
    if isinstance(message.content, tuple):
        return [part.text if isinstance(part, TextPart) else "" for part in message.content]
    return [message.content or ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTools:
    """The tools of one MCP server in a prompt."""

    server: str
    count: int
    size: int
    """Characters of their definitions, or the tokens that these come to."""


def tools_by_server(tools: Sequence[Tool], server_of: Callable[[str], str]) -> list[ServerTools]:
    """Return the ``tools`` of a request by the servers that have them; ``server_of`` knows a tool's by its name."""
    sizes: dict[str, list[int]] = {}
    for tool in tools:
        sizes.setdefault(server_of(tool.name), []).append(len(orjson.dumps(tool_json(tool))))
    return [ServerTools(server=name, count=len(each), size=sum(each)) for name, each in sizes.items()]


def with_tool_tokens(
    error: ContextLengthExceeded,
    model: str,
    tools: Sequence[ServerTools],
    *,
    message_chars: int,
    message_tokens: int | None,
) -> ContextLengthExceeded:
    """Return ``error`` with what the tools of each server take of the prompt, and which servers to leave out.

    Sizes are in characters here; without ``message_tokens``, the tokens of the conversation are its share of them.
    """
    tokens, context = error.details.get("prompt_tokens"), error.details.get("context_length")
    if not isinstance(tokens, int) or not isinstance(context, int) or not tools:
        return error
    if message_tokens is None:
        message_tokens = tokens * message_chars // (message_chars + sum(each.size for each in tools))
    if message_tokens >= context:
        return error  # it would not fit without any tools
    taken = max(0, tokens - message_tokens)
    largest_first = _in_tokens(tools, taken)
    left_out = servers_to_exclude(largest_first, int(MARGIN * (context - answer_tokens(context) - message_tokens)))
    noun = "server" if len(tools) == 1 else "servers"
    what, advice = (
        ("The tools are", "") if taken > message_tokens else ("Tools and messages are", "Shorten the messages. ")
    )
    message = (
        f"{what} too long: the prompt has {tokens} tokens, and the tools of {len(tools)} {noun} take {taken} of "
        f"{context} tokens that {model} holds. {advice}{_way_out(largest_first, left_out)}"
    )
    return ContextLengthExceeded(
        message,
        param=error.param,
        **error.details,
        tool_tokens=taken,
        tool_tokens_by_server={each.server: each.size for each in largest_first},
        leave_out=[each.server for each in left_out],
    )


def servers_to_exclude(largest_first: Sequence[ServerTools], room: int) -> Sequence[ServerTools]:
    """Return the fewest servers without whose tools the rest take no more than ``room`` tokens."""
    rest = sum(each.size for each in largest_first)
    for count, each in enumerate(largest_first):
        if rest <= room:
            return largest_first[:count]
        rest -= each.size
    return largest_first


def _in_tokens(tools: Sequence[ServerTools], tokens: int) -> list[ServerTools]:
    """Return the same with sizes that come to ``tokens`` together, the largest first."""
    chars = sum(each.size for each in tools)
    sized = [ServerTools(server=each.server, count=each.count, size=tokens * each.size // chars) for each in tools]
    return sorted(sized, key=lambda each: (-each.size, each.server))


def _way_out(largest_first: Sequence[ServerTools], left_out: Sequence[ServerTools]) -> str:
    larger = "or serve the model with a larger --context-length."
    kept = sorted(each.server for each in largest_first[len(left_out) :])
    if not kept:
        return (
            f"None of them has room with all its tools: {_listed(largest_first)}. Choose single tools (mcp.tools of "
            f'the request, "allowed_tools" of mcp.json), {larger}'
        )
    names = ", ".join(f'"{name}"' for name in kept)
    return (
        f"Leave out {_listed(left_out)}: give the others as mcp.servers of the request ([{names}]), disable them in "
        f'mcp.json ("disabled": true) or allow fewer of their tools ("allowed_tools"), {larger}'
    )


def _listed(tools: Sequence[ServerTools]) -> str:
    texts = [
        f"{each.server} ({each.count} {'tool' if each.count == 1 else 'tools'}, about {each.size} tokens)"
        for each in tools
    ]
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last
