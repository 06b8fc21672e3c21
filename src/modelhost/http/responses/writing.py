"""The events of a response: the one generator behind every way in which it is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Final

import orjson
from msgspec import Struct
from msgspec.structs import replace

from modelhost import json_text
from modelhost.errors import ContextLengthExceeded, HostFault, ModelhostError
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces, PieceStream, Relayed
from modelhost.exchange.messages import SYSTEM_ROLES, Message
from modelhost.exchange.requests import ChatRequest
from modelhost.http.responses.answer import CREATED, ResponseEvents
from modelhost.http.responses.errors import name_as_sent
from modelhost.http.responses.items import Event, Item
from modelhost.http.responses.output_items import TEXT_DELTA
from modelhost.http.responses.parse import ParsedResponse
from modelhost.http.validation import note_ignored
from modelhost.logs import get_logger

if TYPE_CHECKING:
    from modelhost.chat.answering import OpenedAnswer
    from modelhost.host import Host
    from modelhost.models.residency.lease import OnQueued

log = get_logger(__name__)

EventGroup = Sequence[Event]
"""Events that come together, at least one; they are sent together."""
EventGroups = AsyncGenerator[EventGroup, None]
Settle = Callable[[Event], Awaitable[Event]]
TRUNCATED: Final = "oldest messages"
TEXT: Final = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":%d,%b"delta":%b,'
    b'"logprobs":[]}\n\n'
)
PLACE: Final = b'"item_id":"%b","output_index":%d,"content_index":%d,'


class Delivery(Struct, frozen=True, kw_only=True):
    """Who gets the events of a response, and how."""

    caller: Caller = NOBODY
    on_queued: OnQueued | None = None
    is_streamed: bool = True
    """Whether somebody reads the events as they come, and can be asked questions."""
    seal: Callable[[str], str] = str
    """Seals the reasoning, if the request asks for it."""

    def sealing(self, seal: Callable[[str], str]) -> Delivery:
        return replace(self, seal=seal)


async def response_events(
    host: Host, parsed: ParsedResponse, response: Item, delivery: Delivery, settle: Settle | None = None
) -> EventGroups:
    """Yield the events of ``response``, from ``response.created`` to one terminal event, in groups as they come.

    ``settle`` gets the terminal event, and returns the one to send in its place. Closing the generator cancels the
    generation.

    Raises:
        ModelhostError: before the first event; later ones become ``response.failed``.
    """
    events = ResponseEvents(response, parsed, delivery.seal)
    last: list[Event] = []
    try:
        async with _opened(host, parsed, delivery) as pieces:
            assert not isinstance(pieces, Relayed)
            async for piece in pieces:
                group = events.of(piece)
                if events.is_over:
                    last += group
                elif group:
                    yield group
        last += events.end(None)
    except ModelhostError as error:
        name_as_sent(error)
        if not events.has_begun:
            raise
        last += events.fail(error)
    except Exception:
        if not events.has_begun:
            raise
        log.exception("response_failed", response_id=response["id"])
        last += events.fail(HostFault())
    yield last if settle is None else [*last[:-1], await settle(last[-1])]


def _opened(
    host: Host, parsed: ParsedResponse, delivery: Delivery
) -> AbstractAsyncContextManager[OpenedAnswer | Pieces]:
    if parsed.truncates:
        return aclosing(_fitting(host, parsed.request, delivery))
    return host.open(parsed.request, delivery.caller, delivery.on_queued, is_streamed=delivery.is_streamed)


async def _fitting(host: Host, request: ChatRequest, delivery: Delivery) -> PieceStream:
    """Yield the pieces of the answer to the longest conversation that fits."""
    has_begun = False
    while True:
        try:
            opening = host.open(request, delivery.caller, delivery.on_queued, is_streamed=delivery.is_streamed)
            async with opening as opened:
                assert not isinstance(opened, Relayed)
                async for piece in opened:
                    has_begun = True
                    yield piece
        except ContextLengthExceeded as error:
            shorter = None if has_begun else without_oldest(request.messages, error)
            if shorter is None:
                raise
            note_ignored(TRUNCATED)
            request = replace(request, messages=shorter)
        else:
            return


class BlockWriter:
    """Writes the events of one response as server-sent events."""

    def __init__(self) -> None:
        self._place = b""
        """The place of the text that is being written, encoded once; other events may begin another one."""

    def block(self, group: EventGroup) -> bytes:
        event = group[0]
        if len(group) == 1 and event["type"] == TEXT_DELTA and not event["logprobs"]:  # as nearly all are
            if not self._place:
                self._place = PLACE % (event["item_id"].encode(), event["output_index"], event["content_index"])
            return TEXT % (event["sequence_number"], self._place, orjson.dumps(event["delta"]))
        self._place = b""
        if event["type"] == CREATED and len(group) > 1:
            return _beginning(group)
        return b"".join(map(encoded, group))


def _beginning(group: EventGroup) -> bytes:
    """Return the first events of a response, of which several have the same one: it is encoded once."""
    response = group[0]["response"]
    same = {"response": orjson.Fragment(json_text.encode(response))}
    return b"".join(encoded(event | same if event.get("response") is response else event) for event in group)


def encoded(event: Event) -> bytes:
    name: str = event["type"]
    return b"event: " + name.encode() + b"\ndata: " + json_text.encode(event) + b"\n\n"


Messages = tuple[Message, ...]


def without_oldest(messages: Messages, error: ContextLengthExceeded) -> Messages | None:
    """Return ``messages`` without the oldest ones, about as many as ``error`` says there are too many.

    The system prompt, the last message of the user and the last of the others stay. A message of the model goes with
    the results of its calls. ``None``: there is nothing to drop.
    """
    units = _units(messages)
    last_user = max((place for place, unit in enumerate(units) if unit[0].role == "user"), default=-1)
    kept = {last_user, len(units) - 1}
    droppable = [place for place, unit in enumerate(units) if place not in kept and unit[0].role not in SYSTEM_ROLES]
    if not droppable:
        return None
    excess = _excess_chars(messages, error)
    dropped: set[int] = set()
    for place in droppable:
        if dropped and excess <= 0:
            break
        dropped.add(place)
        excess -= _chars(units[place])
    return tuple(message for place, unit in enumerate(units) if place not in dropped for message in unit)


def _units(messages: Messages) -> list[list[Message]]:
    units: list[list[Message]] = []
    for message in messages:
        if message.role == "tool" and units:
            units[-1].append(message)
        else:
            units.append([message])
    return units


def _excess_chars(messages: Messages, error: ContextLengthExceeded) -> float:
    tokens, limit = error.details.get("prompt_tokens"), error.details.get("context_length")
    if not isinstance(tokens, int) or not isinstance(limit, int) or tokens <= 0:
        return 0
    return _chars(messages) * (tokens - limit) / tokens


def _chars(messages: Sequence[Message]) -> int:
    calls = [call for message in messages for call in message.tool_calls or ()]
    return sum(len(message.text) for message in messages) + sum(len(str(call.arguments)) for call in calls)
