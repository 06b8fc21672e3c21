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
"""One part in so many of the context is reserved for the answer, up to :data:`ANSWER_TOKENS`."""
ANSWER_TOKENS: Final = 512
MIN_RESULT_CHARS: Final = 40
"""Below this, the note at the cut would say more than the result."""
MARGIN: Final = 0.95
"""Tokens are counted for the whole prompt only, and a part of a text may have more tokens than its share."""
UNCOUNTED_SHARE: Final = 0.5
"""What is kept per attempt where the engine does not count tokens."""
NOTE_CHARS: Final = 100


def shorter_limit(
    messages: Sequence[Message], limit: int | None, error: ContextLengthExceeded, tokens_before: int
) -> int | None:
    """Return how many characters of each tool result among ``messages`` fit into the context, or ``None`` if none do.

    With at most ``limit`` characters each, the prompt was refused with ``error``, which has its number of tokens;
    ``tokens_before`` is the number without the results.
    """
    lengths = [len(text) for message in messages if (text := _result_in(message)) is not None]
    sent = [length if limit is None else min(length, limit) for length in lengths]
    room = int(sum(sent) * _share(error, tokens_before)) - NOTE_CHARS * len(sent)
    found = _longest(sent, room)
    return found if sent and found >= MIN_RESULT_CHARS else None


def truncated(messages: Sequence[Message], limit: int | None) -> list[Message]:
    """Return ``messages`` with each tool result truncated to ``limit`` characters, with a note at the cut."""
    return list(messages) if limit is None else [_truncated(message, limit) for message in messages]


def _share(error: ContextLengthExceeded, tokens_before: int) -> float:
    """Return the share of the results that fits."""
    tokens, context = error.details.get("prompt_tokens"), error.details.get("context_length")
    if not isinstance(tokens, int) or not isinstance(context, int) or tokens <= tokens_before:
        return UNCOUNTED_SHARE
    room = context - answer_tokens(context) - tokens_before
    return max(0.0, min(MARGIN, MARGIN * room / (tokens - tokens_before)))


def answer_tokens(context: int) -> int:
    """Return how many tokens of a context are reserved for the answer."""
    return min(context // ANSWER_SHARE, ANSWER_TOKENS)


def _longest(lengths: Sequence[int], room: int) -> int:
    """Return the length to which texts of ``lengths`` have to be truncated to take ``room`` together."""
    rest = sorted(lengths)
    while rest and rest[0] * len(rest) <= room:
        room -= rest.pop(0)
    return room // len(rest) if rest else max(lengths, default=0)


def _result_in(message: Message) -> str | None:
    """Return the text of ``message`` if it is a tool result."""
    return message.content if message.role == "tool" and isinstance(message.content, str) else None


def _truncated(message: Message, limit: int) -> Message:
    text = _result_in(message)
    if text is None or len(text) <= limit:
        return message
    note = f"[cut: the first {limit:,} characters of {len(text):,} are shown; the context of the model holds no more]"
    return replace(message, content=f"{text[:limit]}\n{note}")


def text_of(messages: Sequence[Message]) -> str:
    """Return the text of ``messages``, for counting."""
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
    """Group the ``tools`` of a request by server; ``server_of`` returns the server of a tool's name."""
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
    """Return ``error`` with the tokens that each server's tools take, and the servers to exclude.

    Sizes are in characters; without ``message_tokens``, the conversation's tokens are estimated from its share of them.
    """
    tokens, context = error.details.get("prompt_tokens"), error.details.get("context_length")
    if not isinstance(tokens, int) or not isinstance(context, int) or not tools:
        return error
    if message_tokens is None:
        message_tokens = tokens * message_chars // (message_chars + sum(each.size for each in tools))
    if message_tokens >= context:
        return error  # it would not fit even without tools
    taken = max(0, tokens - message_tokens)
    largest_first = _in_tokens(tools, taken)
    excluded = servers_to_exclude(largest_first, int(MARGIN * (context - answer_tokens(context) - message_tokens)))
    noun = "server" if len(tools) == 1 else "servers"
    what, advice = (
        ("The tools are", "") if taken > message_tokens else ("Tools and messages are", "Shorten the messages. ")
    )
    message = (
        f"{what} too long: the prompt has {tokens} tokens, and the tools of {len(tools)} {noun} take {taken} of "
        f"{context} tokens that {model} holds. {advice}{_advice(largest_first, excluded)}"
    )
    return ContextLengthExceeded(
        message,
        param=error.param,
        **error.details,
        tool_tokens=taken,
        tool_tokens_by_server={each.server: each.size for each in largest_first},
        leave_out=[each.server for each in excluded],
    )


def servers_to_exclude(largest_first: Sequence[ServerTools], room: int) -> Sequence[ServerTools]:
    """Return the fewest servers to exclude so that the tools of the others take at most ``room`` tokens."""
    rest = sum(each.size for each in largest_first)
    for count, each in enumerate(largest_first):
        if rest <= room:
            return largest_first[:count]
        rest -= each.size
    return largest_first


def _in_tokens(tools: Sequence[ServerTools], tokens: int) -> list[ServerTools]:
    """Return ``tools`` with their sizes in tokens, of ``tokens`` in total, the largest first."""
    chars = sum(each.size for each in tools)
    sized = [ServerTools(server=each.server, count=each.count, size=tokens * each.size // chars) for each in tools]
    return sorted(sized, key=lambda each: (-each.size, each.server))


def _advice(largest_first: Sequence[ServerTools], excluded: Sequence[ServerTools]) -> str:
    larger = "or serve the model with a larger --context-length."
    kept = sorted(each.server for each in largest_first[len(excluded) :])
    if not kept:
        return (
            f"None of them has room with all its tools: {_listed(largest_first)}. Choose single tools (mcp.tools of "
            f'the request, "allowed_tools" of mcp.json), {larger}'
        )
    names = ", ".join(f'"{name}"' for name in kept)
    return (
        f"Leave out {_listed(excluded)}: give the others as mcp.servers of the request ([{names}]), disable them in "
        f'mcp.json ("disabled": true) or allow fewer of their tools ("allowed_tools"), {larger}'
    )


def _listed(tools: Sequence[ServerTools]) -> str:
    texts = [
        f"{each.server} ({each.count} {'tool' if each.count == 1 else 'tools'}, about {each.size} tokens)"
        for each in tools
    ]
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last
