"""A response that is made in the background: its events go to the database, in groups, as they come."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace as with_fields

from modelhost.background import log_failures
from modelhost.errors import DatabaseUnavailable, HostFault, ModelhostError
from modelhost.http.responses.answer import CREATED
from modelhost.http.responses.errors import error_in
from modelhost.http.responses.items import Event, Item
from modelhost.http.responses.parse import ParsedResponse
from modelhost.http.responses.writing import Delivery, response_events
from modelhost.logs import get_logger
from modelhost.state.stored_response import HOST_STOPPED, NewResponse, Progress, ResponseSnapshot, terminal_event
from modelhost.tracing import spans

if TYPE_CHECKING:
    from modelhost.host import Host

GATHER_SECONDS: Final = 0.1
"""How long events wait for others that are written with them."""
RETRY_SECONDS: Final = 1.0
"""Between two attempts to write to a database that fails."""
QUEUED: Final = "response.queued"
FAILED: Final = "response.failed"

log = get_logger(__name__)


class BackgroundRun:
    """Makes one response: one task makes its events, another one stores them."""

    def __init__(self, host: Host, parsed: ParsedResponse, new: NewResponse, delivery: Delivery) -> None:
        """Take the response as it begins; whoever follows it can be asked questions, if the request wants a stream."""
        self.id: Final = new.id
        self._host = host
        self._parsed = with_fields(parsed, request=with_fields(parsed.request, is_streamed=True))
        self._delivery = with_fields(delivery, on_queued=None)
        self._store = host.state.responses
        body = {**new.body, "status": "queued"}
        self._new = replace(new, body=body)
        self._snapshot = ResponseSnapshot(body)
        self._sequence = 0
        self._waiting: list[Event] = []
        self._added = asyncio.Event()
        self._news = asyncio.Event()
        self._making: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.task: asyncio.Task[None]
        """Ends when nothing of the response is to be stored any more; there once it has begun."""

    async def begin(self) -> Item:
        """Store the queued response and begin to make it; return it."""
        await self._store.begin(self._new, self._lose)
        queued = self._new.body
        first = [self._event(CREATED, queued), self._event(QUEUED, queued)]
        try:
            await self._store.add(self._new, Progress(events=first))
        except BaseException:
            self._store.release(self.id)
            raise
        self._making = asyncio.create_task(spans.apart(self._make))
        self._making.add_done_callback(lambda _: self._added.set())
        self.task = asyncio.create_task(self._keep())
        return queued

    def news(self) -> asyncio.Event:
        """Return what is set when more is stored."""
        return self._news

    async def halt(self) -> None:
        """Stop making it, and return when what was made is stored."""
        self._lose()
        await asyncio.wait([self.task])

    async def stop(self) -> None:
        """Stop making it because the host stops: it is incomplete, unless it is finished."""
        self._is_stopping = True
        await self.halt()
        try:
            await self._store.end(self.id, "incomplete", HOST_STOPPED)
        except DatabaseUnavailable as error:  # its lease expires, and who reads it then finishes it
            log.warning("response_not_finished", response=self.id, reason=error.message)
        self._tell()

    def _lose(self) -> None:
        if self._making is not None:
            self._making.cancel()

    async def _make(self) -> None:
        """Make the events; an error before the first of them fails the response, too."""
        response = {**self._new.body, "status": "in_progress"}
        try:
            async with aclosing(response_events(self._host, self._parsed, response, self._delivery)) as events:
                async for group in events:
                    for event in group:
                        self._add(event)
        except ModelhostError as error:
            self._fail(error)
        except Exception:
            log.exception("response_failed", response=self.id)
            self._fail(HostFault())

    def _add(self, event: Event) -> None:
        if event["type"] == CREATED or (self._is_stopping and event["type"] == FAILED):
            return  # it was created; and the end of the host is no fault of the response
        self._waiting.append({**event, "sequence_number": self._next_number()})
        self._added.set()

    def _fail(self, error: ModelhostError) -> None:
        if not self._is_stopping:
            failed = {**self._snapshot.body, "status": "failed", "output": [], "error": error_in(error)}
            self._waiting.append(terminal_event(failed, self._next_number()))

    async def _keep(self) -> None:
        """Store the events until there are no more, or somebody else ends the response."""
        assert self._making is not None
        with log_failures("storing a background response", response=self.id):
            while not await self._is_kept(self._making):
                pass
        self._making.cancel()
        self._store.release(self.id)
        self._tell()

    async def _is_kept(self, making: asyncio.Task[None]) -> bool:
        """Store the events of a moment; return whether there are no more."""
        await self._added.wait()
        if not making.done():
            await asyncio.wait([making], timeout=GATHER_SECONDS)
        self._added.clear()
        is_last = making.done()
        group, self._waiting = self._waiting, []
        is_held = await self._written(group)
        self._tell()
        return is_last or not is_held

    async def _written(self, group: list[Event]) -> bool:
        """Store a group of events, however long that takes; return whether the response is still made here."""
        if not group:
            return True
        progress = Progress(events=group, body=self._snapshot.body if self._snapshot.add(group) else None)
        while True:
            try:
                return await self._store.add(self._new, progress)
            except DatabaseUnavailable as error:
                log.warning("response_waits_for_database", response=self.id, reason=error.message)
                if self._is_stopping:
                    return False
                await asyncio.sleep(RETRY_SECONDS)

    def _event(self, name: str, body: Item) -> Event:
        return {"type": name, "sequence_number": self._next_number(), "response": body}

    def _next_number(self) -> int:
        number = self._sequence
        self._sequence += 1
        return number

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
