"""Answers as server-sent events of OpenAI's API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, Final

from modelhost import json_text
from modelhost.exchange.chunks import CHAT, head_of, rest_of
from modelhost.exchange.events import Envelope, Piece, Pieces, Relayed, Usage

DATA: Final = b"data:"
DONE: Final = b"[DONE]"
END_OF_EVENT: Final = b"\n\n"
DONE_EVENT: Final = b"data: [DONE]\n\n"


def encode_event(payload: Any) -> bytes:
    return b"data: " + json_text.encode(payload) + END_OF_EVENT


class BlockWriter:
    """Writes the pieces of one answer as events."""

    def __init__(self) -> None:
        self._envelope: Envelope | None = None
        self._head = b""

    def block(self, piece: Piece) -> bytes:
        """Return ``piece`` as an event; the common fields are encoded once."""
        envelope = piece[0].envelope
        if envelope is not self._envelope:
            self._envelope = envelope
            self._head = b"data: " + json_text.encode(head_of(envelope))[:-1] + b","
        return self._head + json_text.encode(rest_of(piece))[1:] + END_OF_EVENT


async def blocks_of(pieces: Pieces, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Yield each of ``pieces`` as an event, then the end marker."""
    block = BlockWriter().block
    async for piece in pieces:
        if include_usage or piece[0].__class__ is not Usage:
            yield block(piece)
    yield DONE_EVENT


def blocks_of_answer(answer: Any) -> bytes:
    """Return a complete chat completion as a stream of one event and the end marker."""
    if not isinstance(answer, dict):
        return encode_event(answer)
    choices = []
    for choice in answer.get("choices") or ():
        message = dict(choice.get("message") or {})
        if calls := message.get("tool_calls"):
            message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
        choices.append({**{name: value for name, value in choice.items() if name != "message"}, "delta": message})
    return encode_event({**answer, "object": CHAT, "choices": choices}) + DONE_EVENT


def rendered(answer: Pieces | Relayed, *, include_usage: bool) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """Return ``answer`` as events with the end marker."""
    if isinstance(answer, Relayed):
        return nullcontext(answer.blocks)
    return aclosing(blocks_of(answer, include_usage=include_usage))
