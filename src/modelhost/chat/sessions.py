"""One request in a session: how it extends the stored conversation, and what is stored of it, and when.

A client may send new messages only, or the whole conversation each time, as OpenAI's API requires. In the latter case
the stored conversation occurs in the request as a run of messages, and what follows that run is new. Both are compared
as a client sees them: calls that the host ran itself between question and answer are in none of its messages.

What is stored, in this order: the messages that the request added, the calls that the host ran with their results, and
the answer (the first, if there are several choices). All of it is durable before the client receives the end of the
answer. Nothing is stored of a request that fails or whose client disconnects first. Neither the model's reasoning nor
what ``mcp`` brought in (resources, prompts) is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from msgspec.structs import replace

from modelhost import json_text
from modelhost.errors import InvalidRequest
from modelhost.exchange.events import Finish, Piece, Pieces, PieceStream
from modelhost.exchange.messages import SYSTEM_ROLES, Message, ToolCall, message_json, messages_of, part_json
from modelhost.exchange.requests import ChatRequest
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.logs import get_logger, has_debug

if TYPE_CHECKING:
    from modelhost.chat.tools.loop import ToolLoop

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


def merge_history(stored: Sequence[Message], given: Sequence[Message]) -> Continuation:
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


log = get_logger(__name__)

KEPT: Final = ("role", "content", "tool_calls", "tool_call_id")
"""What is stored of a message that the model or a tool made."""


class HeldSession(Protocol):
    """A session that nobody else can change meanwhile."""

    @property
    def messages(self) -> tuple[Mapping[str, Any], ...]:
        """The conversation so far, its system message first if it has one."""

    async def append(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        system: Mapping[str, Any] | None = None,
        model: str | None = None,
    ) -> None:
        """Add ``messages``, all or none; they are durable when it returns. ``system`` takes the place of the old."""


class SessionTurn:
    """One request, as long as its session is held."""

    def __init__(self, held: HeldSession, request: ChatRequest, *, model: str) -> None:
        """Take a request for the model called ``model``.

        Raises:
            InvalidRequest: it adds nothing.
        """
        self._held = held
        self._model = model
        self._continuation = merge_history(messages_of(held.messages), request.messages)
        if has_debug():
            log.debug(
                "session_continued",
                session=request.session_id,
                model=model,
                stored=len(held.messages),
                given=len(request.messages),
                new=len(self._continuation.new),
                has_new_system=self._continuation.system is not None,
            )
        self._loop: ToolLoop | None = None
        self.request = replace(request, messages=self._continuation.conversation)
        """What the model is asked."""

    def follow(self, loop: ToolLoop) -> None:
        """Note that ``loop`` makes the answer: its turns are part of the conversation."""
        self._loop = loop

    async def stored(self, pieces: Pieces) -> PieceStream:
        """Yield ``pieces``, the end of the answer only when all is stored.

        Raises:
            DatabaseUnavailable: it could not be stored; nothing is.
        """
        answer, unfinished = WholeAnswer(), self.request.n
        last: list[Piece] = []
        async for piece in pieces:
            answer.add(piece)
            unfinished -= sum(1 for event in piece if isinstance(event, Finish))
            if last or unfinished <= 0:
                last.append(piece)
            else:
                yield piece
        await self._store(answer)
        for piece in last:
            yield piece

    async def _store(self, answer: WholeAnswer) -> None:
        """Store the exchange that ``answer`` completes. Who is cancelled meanwhile waits for the end of it."""
        said = self._loop.transcript if self._loop is not None else [answer.choice().message]
        kept = [_kept(message) for message in said]
        continuation = self._continuation
        new = [message_json(message) for message in continuation.new]
        system = None if continuation.system is None else message_json(continuation.system)
        writing = asyncio.ensure_future(self._held.append([*new, *kept], system=system, model=self._model))
        try:
            await asyncio.shield(writing)
            if has_debug():
                log.debug("session_stored", session=self.request.session_id, added=len(new) + len(kept))
        except asyncio.CancelledError:
            # The session must not be given to the next one before this is over, one way or the other.
            await asyncio.wait([writing])
            raise


def _kept(message: Message) -> dict[str, Any]:
    written = {"content": None, **message_json(message)}
    return {name: written[name] for name in KEPT if name in written}
