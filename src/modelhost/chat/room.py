"""Room in a model's context: what tools returned is cut to what fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from modelhost.errors import ContextLengthExceeded
from modelhost.exchange.messages import Message, TextPart

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
