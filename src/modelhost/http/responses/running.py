"""Responses in the making: what they go on with, and how they are stored, at once or in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from msgspec import Struct

from modelhost.config.value_types import is_session_id
from modelhost.errors import DatabaseUnavailable, InvalidRequest
from modelhost.exchange.caller import Caller
from modelhost.exchange.nothing import NOTHING
from modelhost.http.responses.background import BackgroundRun
from modelhost.http.responses.decisions import Decisions, Release
from modelhost.http.responses.errors import error_in
from modelhost.http.responses.items import REFERENCE, Event, Find, Item, kind_of
from modelhost.http.responses.parse import ParsedResponse
from modelhost.http.responses.writing import Delivery, EventGroup, EventGroups, response_events
from modelhost.logs import get_logger
from modelhost.state.stored_response import CANCELLED, ConversationPlace, ItemPage, NewResponse, StoredResponse

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.state.sealing import Seal

EVENTS_AT_ONCE: Final = 500
"""Events that are read in one transaction."""
POLL_SECONDS: Final = 0.25
"""Between two looks at a response that another host makes."""

log = get_logger(__name__)


class History(Struct, frozen=True, kw_only=True):
    """What a response goes on with; ``conversation`` is where its own items begin, if it belongs to one."""

    items: tuple[Item, ...] = ()
    conversation: ConversationPlace | None = None


NO_HISTORY: Final = History()


class Run(Struct, frozen=True, kw_only=True):
    """A response to make: the request, the response as it begins, and the items of the request itself."""

    parsed: ParsedResponse
    response: Item
    own_input: Sequence[Item]
    delivery: Delivery
    previous_id: str | None = None
    """The stored response that it continues; its items are not those of this one."""
    conversation: ConversationPlace | None = None

    @property
    def is_stored(self) -> bool:
        return bool(self.response["store"])

    def stored_as(self, body: Item) -> NewResponse:
        return NewResponse(
            body=body,
            owner=self.delivery.caller.key_name,
            own_input=self.own_input,
            is_background=bool(self.response["background"]),
            previous_id=self.previous_id,
            conversation=self.conversation,
        )


class Responses:
    """The responses of a host: those that are stored, and those that it makes.

    A caller sees what was made with its own API key; without keys, everything. All methods raise
    :class:`DatabaseUnavailable` if the database is needed and cannot be used.
    """

    def __init__(self, host: Host) -> None:
        """Stop background responses when ``host`` stops."""
        self.host = host
        self._state = host.state
        self._running: dict[str, BackgroundRun] = {}
        self._decisions = Decisions(self._state.responses, self._state.decisions)
        host.at_stop(self.stop)

    # What a response goes on with.

    async def find_items(self, given: str | Sequence[Item], caller: Caller) -> Find:
        """Return what finds the stored items that ``given``, the input of a request, refers to."""
        ids = [] if isinstance(given, str) else [item["id"] for item in given if kind_of(item) == REFERENCE]
        found = await self._state.responses.find_items(ids, caller.key_name) if ids else NOTHING
        return found.get

    async def history(self, previous_id: str | None, conversation_id: str | None, caller: Caller) -> History:
        """Return what a request with this predecessor, or in this conversation, goes on with.

        Raises:
            PreviousResponseNotFound: the predecessor is missing, or one before it.
            ConversationNotFound: there is no such conversation.
            InvalidRequest: the predecessor is not finished.
        """
        if previous_id is not None:
            return History(items=await self._state.responses.history(previous_id, caller.key_name))
        if conversation_id is not None:
            place, items = await self._state.conversations.history(conversation_id, caller.key_name)
            return History(items=items, conversation=place)
        return NO_HISTORY

    async def seal(self) -> Seal:
        """Return what seals and opens texts for all hosts of the database."""
        return await self._state.seals.get()

    # Making.

    async def events(self, run: Run) -> EventGroups:
        """Return the events of a response; the terminal one comes once it is stored durably, if it is to be kept.

        If it cannot be stored, its terminal event is ``response.failed``. One that is closed before is not stored.

        Raises:
            ModelhostError: it cannot be kept; others come with the first event.
        """
        settle = None
        if run.is_stored:
            _check(run)
            await self._state.open()  # a database that cannot be used is an error before the answer
            settle = partial(self._stored, run)
        events = response_events(self.host, run.parsed, run.response, run.delivery, settle)
        return self._decided_once(run, events) if run.parsed.decided else events

    async def _decided_once(self, run: Run, events: EventGroups) -> EventGroups:
        async with aclosing(events):
            release = await self._decide(run)
            try:
                async for group in events:
                    yield group
            finally:
                release()

    async def _decide(self, run: Run) -> Release:
        is_kept = run.is_stored or run.previous_id is not None or run.conversation is not None
        owner = run.delivery.caller.key_name
        return await self._decisions.begin(run.parsed.decided, owner, run.own_input, is_kept=is_kept)

    async def _stored(self, run: Run, terminal: Event) -> Event:
        try:
            await self._state.responses.put(run.stored_as(terminal["response"]))
        except DatabaseUnavailable as error:
            log.warning("response_not_stored", response=run.response["id"], reason=error.message)
            failed = {**terminal["response"], "status": "failed", "error": error_in(error), "incomplete_details": None}
            return {**terminal, "type": "response.failed", "response": failed}
        return terminal

    async def start_background(self, run: Run) -> Item:
        """Start to make a response in the background; return it, queued, when that is stored durably.

        Only :meth:`cancel` and the end of the host stop it, not its client.

        Raises:
            InvalidRequest: it is not to be kept, or another response has decided about a call in its place.
        """
        if not run.is_stored:
            raise InvalidRequest(
                "background: a response that is made in the background has to be stored; leave out store.",
                param="background",
            )
        _check(run)
        made = BackgroundRun(self.host, run.parsed, run.stored_as(run.response), run.delivery)
        release = await self._decide(run)
        try:
            queued = await made.begin()
        except BaseException:
            release()
            raise
        self._running[made.id] = made
        made.task.add_done_callback(lambda _: self._running.pop(made.id))
        made.task.add_done_callback(lambda _: release())
        return queued

    async def stop(self) -> None:
        """Stop what is made in the background; it is incomplete from then on."""
        await asyncio.gather(*(made.stop() for made in tuple(self._running.values())))
        await self._decisions.settle()

    # What is stored.

    async def retrieve(self, response_id: str, caller: Caller) -> Item:
        """Return the response, whoever makes it; raises ResponseNotFound."""
        return (await self._get(response_id, caller)).body

    async def tail(self, response_id: str, caller: Caller, starting_after: int = -1) -> EventGroups:
        """Yield the events of a background response behind that number: those that were, then those that come.

        Raises:
            ResponseNotFound: there is none, or it was deleted.
            InvalidRequest: it was not made in the background.
        """
        found = await self._get(response_id, caller)
        if not found.is_background:
            raise InvalidRequest(
                f'The events of "{response_id}" are not kept: they are for responses with "background": true. '
                "Retrieve it without stream.",
                param="stream",
            )
        last = starting_after
        while True:
            made = self._running.get(response_id)
            news = None if made is None else made.news()
            found = await self._get(response_id, caller)
            while group := await self._events_after(response_id, last):
                last = group[-1]["sequence_number"]
                yield group
            if found.is_finished:
                return
            await (asyncio.sleep(POLL_SECONDS) if news is None else news.wait())

    async def _events_after(self, response_id: str, last: int) -> EventGroup:
        written = await self._state.responses.events(response_id, after=last, limit=EVENTS_AT_ONCE)
        return [orjson.loads(each) for each in written]

    async def cancel(self, response_id: str, caller: Caller) -> Item:
        """Cancel a background response, whoever makes it; return it. One that is finished stays as it is.

        Raises:
            ResponseNotFound: there is none.
            InvalidRequest: it is not made in the background.
        """
        found = await self._get(response_id, caller)
        if not found.is_background:
            raise InvalidRequest(
                f'Only responses with "background": true can be cancelled, and "{response_id}" is none. Close the '
                "connection to end another.",
                param="response_id",
            )
        if not found.is_finished:
            if (made := self._running.get(response_id)) is not None:
                await made.halt()
            await self._state.responses.end(response_id, CANCELLED, CANCELLED)
        return await self.retrieve(response_id, caller)

    async def delete(self, response_id: str, caller: Caller) -> Item:
        """Delete the response, and stop making it; return OpenAI's answer. Raises ResponseNotFound."""
        await self._state.responses.delete(response_id, caller.key_name)
        if (made := self._running.get(response_id)) is not None:
            await made.halt()
        return {"id": response_id, "object": "response", "deleted": True}

    async def input_items(
        self, response_id: str, caller: Caller, *, limit: int, is_ascending: bool, after: str | None
    ) -> ItemPage:
        """Return up to ``limit`` of the items that the response answers, those behind the item ``after``.

        Raises:
            ResponseNotFound: there is none.
            InvalidRequest: ``after`` is none of them.
        """
        items = await self._state.responses.input_items(response_id, caller.key_name)
        return page_of(items if is_ascending else items[::-1], limit=limit, after=after)

    async def _get(self, response_id: str, caller: Caller) -> StoredResponse:
        return await self._state.responses.get(response_id, caller.key_name)


def page_of(items: Sequence[Item], *, limit: int, after: str | None) -> ItemPage:
    """Return up to ``limit`` of ``items``, those behind the one with the id ``after``; raises InvalidRequest."""
    begin = 0
    if after is not None:
        begin = next((at for at, item in enumerate(items, 1) if item.get("id") == after), 0)
        if not begin:
            raise InvalidRequest(f'after: there is no item "{after[:100]}" here.', param="after")
    return ItemPage(items=tuple(items[begin : begin + limit]), has_more=len(items) > begin + limit)


def _check(run: Run) -> None:
    if run.conversation is not None:
        storable(run.own_input, "input")


def storable(items: Sequence[Item], field: str) -> Sequence[Item]:
    """Return ``items``, those of a field of a request.

    Raises:
        InvalidRequest: an id of them cannot be stored in a conversation; ``param`` is its path.
    """
    for place, item in enumerate(items):
        if not isinstance(item["id"], str) or not is_session_id(item["id"]):
            param = f"{field}[{place}].id"
            raise InvalidRequest(
                f"{param}: the id of an item is text of 1 to 256 characters, none of them a control character.",
                param=param,
            )
    return items


def list_of(page: ItemPage) -> dict[str, Any]:
    """Return a page of items in OpenAI's form."""
    return {
        "object": "list",
        "data": list(page.items),
        "first_id": page.items[0].get("id") if page.items else None,
        "last_id": page.items[-1].get("id") if page.items else None,
        "has_more": page.has_more,
    }
