"""One request in a session: how it extends the stored conversation, and what is stored of it, and when.

A client may send new messages only, or the whole conversation each time, as OpenAI's API requires. In the latter case
the stored conversation occurs in the request as a run of messages, and what follows that run is new. Both are compared
as a client sees them: calls that the host ran itself between question and answer are in none of its messages.

What is stored, in this order: the messages that the request added, the calls that the host ran with their results, and
the answer (the first, if there are several choices), which may be calls that the client runs. All of it is durable
before the client receives the end of the answer. Nothing is stored of a request that fails or whose client disconnects
first. Neither the model's reasoning nor what ``mcp`` brought in (resources, prompts) is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

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
    from modelhost.state.sessions import HeldSession

MODEL_ROLES: Final = frozenset({"assistant", "tool", "function"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """A request that continues a conversation."""

    system: Message | None
    """The system message of the request, which replaces the stored one."""
    new: tuple[Message, ...]
    """The messages that the request adds."""
    conversation: tuple[Message, ...]
    """All messages, as the model gets them."""


def merge_history(stored: Sequence[Message], given: Sequence[Message]) -> Continuation:
    """Return how ``given``, the messages of a request, continue the ``stored`` conversation.

    System messages at the beginning count as one; elsewhere they are ordinary messages.

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
    """Return the leading system messages as one, and the other messages."""
    first = list(takewhile(lambda message: message.role in SYSTEM_ROLES, messages))
    if not first:
        return None, messages
    if len(first) == 1:
        return first[0], messages[1:]
    text = "\n\n".join(message.text for message in first)
    return replace(first[0], content=text), messages[len(first) :]


def _after(history: Sequence[Message], messages: Sequence[Message]) -> Sequence[Message]:
    """Return what follows the last run in ``messages`` that equals ``history``; without such a run, all messages."""
    if not history:
        return messages
    of_client = {call.id for message in messages for call in message.tool_calls or ()}
    # The client knows calls whose results are awaited, since it runs them.
    is_known = all(call.id in of_client for call in history[-1].tool_calls or ())
    for read in (_each, partial(_as_client_sees, of_client)) if is_known else (_each,):
        known, given = read(history), read(messages)
        for start in range(len(given) - len(known), -1, -1):
            run = given[start : start + len(known)]
            if all(one.content == other.content for one, other in zip(known, run, strict=True)):
                return messages[run[-1].end :]
    return messages


@dataclass(frozen=True, slots=True)
class _Utterance:
    """A comparable form of one or several messages, and the index behind them."""

    content: Hashable
    end: int


def _each(messages: Sequence[Message]) -> list[_Utterance]:
    """Return each message in a form that does not depend on how a client writes it."""
    return [_Utterance(_normal(message), at) for at, message in enumerate(messages, start=1)]


def _as_client_sees(of_client: Container[str | None], messages: Sequence[Message]) -> list[_Utterance]:
    """Return what a client sees of the host's calls: nothing, and all texts of the model around them as one.

    ``of_client`` are the ids of the calls that the client runs.
    """
    found: list[_Utterance] = []
    texts: list[str] = []
    for at, message in enumerate(messages, start=1):
        if message.role not in MODEL_ROLES or message.tool_call_id in of_client:
            found.append(_Utterance(_normal(message), at))
            texts = []
            continue
        if texts:
            found.pop()
        texts.append(message.text if message.role == "assistant" else "")
        calls = tuple(_normal_call(call) for call in message.tool_calls or () if call.id in of_client)
        found.append(_Utterance(("assistant", "".join("".join(texts).split()), calls), at))
        if calls:
            texts = []
    return found


def _normal(message: Message) -> Hashable:
    calls = tuple(map(_normal_call, message.tool_calls or ()))
    return message.role, message.text.strip(), _media(message), calls, message.tool_call_id


def _normal_call(call: ToolCall) -> Hashable:
    if call.input is not None:
        return call.id, call.name, call.input
    try:
        arguments = call.arguments or "{}"
        arguments = json_text.decode(arguments) if isinstance(arguments, str) else arguments
        written = json_text.encode(arguments, option=orjson.OPT_SORT_KEYS)
    except (ValueError, orjson.JSONEncodeError):
        return call.id, call.name, str(call.arguments)
    return call.id, call.name, written


def _media(message: Message) -> Hashable:
    others = [part_json(part) for part in message.media]
    return orjson.dumps(others, option=orjson.OPT_SORT_KEYS) if others else ()


log = get_logger(__name__)

STORED_FIELDS: Final = ("role", "content", "tool_calls", "tool_call_id")
"""The fields that are stored of a message by the model or a tool."""


class SessionTurn:
    """One request in a session that is held."""

    def __init__(
        self, held: HeldSession, request: ChatRequest, *, model: str, continues_by_default: bool = False
    ) -> None:
        """Merge ``request``, for the model called ``model``, with the stored conversation.

        ``continues_by_default``: the model's engine continues a final assistant message, unless a request forbids it.

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
        self._continues = _continues_final_message(request, by_default=continues_by_default)
        self.request = replace(request, messages=self._continuation.conversation)
        """The request with the whole conversation."""

    def follow(self, loop: ToolLoop) -> None:
        """Store the transcript of ``loop``, which makes the answer."""
        self._loop = loop

    async def stored(self, pieces: Pieces) -> PieceStream:
        """Yield ``pieces``, the end of the answer only when the exchange is stored.

        Raises:
            DatabaseUnavailable: nothing is stored.
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
        """Store the exchange that ``answer`` completes; a cancellation waits until that is over."""
        new = list(self._continuation.new)
        made = self._loop.transcript if self._loop is not None else [answer.choice().message]
        if self._continues:
            made[0] = replace(made[0], content=new.pop().text + made[0].text)
        messages = [*map(message_json, new), *map(_stored, made)]
        system = None if (given := self._continuation.system) is None else message_json(given)
        writing = asyncio.ensure_future(self._held.append(messages, system=system, model=self._model))
        try:
            await asyncio.shield(writing)
            if has_debug():
                log.debug("session_stored", session=self.request.session_id, added=len(messages))
        except asyncio.CancelledError:
            # The session must not be held by another request before this is over.
            await asyncio.wait([writing])
            raise


def _continues_final_message(request: ChatRequest, *, by_default: bool) -> bool:
    """Return whether the answer continues the last message, so that both are one message of the conversation."""
    last, wanted = request.messages[-1], request.extra.get("continue_final_message")
    if last.role != "assistant" or last.tool_calls:
        return False
    return bool(wanted) or (by_default and wanted is None and not request.extra.get("add_generation_prompt"))


def _stored(message: Message) -> dict[str, Any]:
    written = {"content": None, **message_json(message)}
    return {name: written[name] for name in STORED_FIELDS if name in written}
