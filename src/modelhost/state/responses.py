"""Stored responses: those that are finished, and those that a host makes in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from modelhost.background import log_failures
from modelhost.config.value_types import is_session_id
from modelhost.errors import DatabaseUnavailable, InvalidRequest, PreviousResponseNotFound, ResponseNotFound
from modelhost.logs import get_logger
from modelhost.state import stored_response as stored
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.leases import LEASE_SECONDS, Renewal, is_gone, this_process
from modelhost.state.retention import Retention, usage_of

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows

RENEW_SECONDS: Final = 2.0
"""Between two looks at the responses that this process makes: whether another one has cancelled or deleted them."""
TOUCHED_AFTER: Final = timedelta(hours=1)
"""How exactly it is known when a response was last used."""

_log = get_logger(__name__)
OnLost = Callable[[], None]


class ResponseStore:
    """The responses in the database, each one the ``owner``'s who made it: others do not see it.

    Every method raises :class:`DatabaseUnavailable` if the database cannot be used; ``get``, ``input_items`` and
    ``delete`` raise :class:`ResponseNotFound` if there is none, or it is somebody else's.
    """

    def __init__(self, database: LazyDatabase, retention: Retention) -> None:
        self._database = database
        self._retention = retention
        self._held: dict[str, OnLost] = {}
        self._renewal = Renewal(self._held, self._renew, task="renewing leases of responses")
        self.holder: Final = this_process()

    async def put(self, new: stored.NewResponse) -> None:
        """Store a finished response, and add its items to its conversation; both survive a power failure.

        A conversation that was deleted meanwhile is left out.
        """

        def put(rows: Rows) -> stored.Usage:
            rows.responses.put(new)
            _continue_conversation(new, new.body, rows)
            return usage_of(rows)

        await self._keep_within(await self._database.write(put), new.id)

    async def begin(self, new: stored.NewResponse, on_lost: OnLost) -> None:
        """Store a response that this process is going to make; it survives a power failure.

        Until it is finished, this process is its holder. ``on_lost`` is called when it is not any more, because
        another host has cancelled or deleted the response.
        """

        def begin(rows: Rows) -> stored.Usage:
            rows.responses.put(new, self.holder, LEASE_SECONDS)
            return usage_of(rows)

        usage = await self._database.write(begin)
        self._held[new.id] = on_lost
        self._renewal.keep_running(every_seconds=RENEW_SECONDS)
        await self._keep_within(usage, new.id)

    async def add(self, new: stored.NewResponse, progress: stored.Progress) -> bool:
        """Store what was added to a response that this process makes; return whether it still is its holder.

        A body with a final status finishes it, as :meth:`put` does.
        """
        is_final = progress.body is not None and progress.body["status"] not in stored.UNFINISHED

        def add(rows: Rows) -> bool:
            is_held = rows.responses.add(new.id, self.holder, progress)
            if is_held and is_final and progress.body is not None:
                _continue_conversation(new, progress.body, rows)
            return is_held

        is_held = await self._database.write(add, durable=is_final)
        if is_final or not is_held:
            self._held.pop(new.id, None)
        return is_held

    def release(self, response_id: str) -> None:
        """Hold the response no longer: its lease expires."""
        self._held.pop(response_id, None)

    async def get(self, response_id: str, owner: str) -> stored.StoredResponse:
        """Return the response. One whose host is gone is incomplete from now on."""
        found = await self._read(response_id, owner)
        if found is not None and self._is_lost(found):
            await self._end_lost(found)
            found = await self._read(response_id, owner)
        if found is None:
            raise ResponseNotFound(f'There is no stored response "{response_id[:100]}".', response_id=response_id[:100])
        return found

    async def history(self, response_id: str, owner: str) -> tuple[stored.Item, ...]:
        """Return the items of the response and of all before it, the oldest first.

        Raises:
            PreviousResponseNotFound: it is missing, or one before it.
            InvalidRequest: it is not finished.
        """
        await self._existing(response_id, owner)
        chain, before = await self._chain(response_id, owner)
        first, last = chain[0], chain[-1]
        if first.previous_id is not None:
            raise _missing(first.previous_id, f'"{response_id[:100]}" continues it.')
        if not last.is_finished:
            raise InvalidRequest(
                f'The response "{response_id[:100]}" is {last.status}; continue it when it is finished.',
                param="previous_response_id",
            )
        if before is None:
            raise _missing(response_id, "The conversation that it belongs to was deleted.")
        await self._touch(chain)
        return (*before, *(item for each in chain for item in each.items))

    async def input_items(self, response_id: str, owner: str) -> tuple[stored.Item, ...]:
        """Return the items that the response answers, the oldest first, as far as they are still stored."""
        await self.get(response_id, owner)
        chain, before = await self._chain(response_id, owner)
        items = [item for each in chain[:-1] for item in each.items]
        return (*(before or ()), *items, *chain[-1].own_input)

    async def find_items(self, ids: Sequence[str], owner: str) -> dict[str, stored.Item]:
        """Return the items with these ids in responses and conversations of ``owner``, by id."""
        possible = [each for each in ids if is_session_id(each)]

        def find(rows: Rows) -> dict[str, stored.Item]:
            return rows.conversations.known_items(possible, owner) | rows.responses.items(possible, owner)

        return await self._database.read(find)

    async def events(self, response_id: str, *, after: int, limit: int) -> tuple[bytes, ...]:
        """Return events of a background response as JSON, in their order, from the number behind ``after`` on."""
        return await self._database.read(lambda rows: rows.responses.events(response_id, after=after, limit=limit))

    async def end(self, response_id: str, status: str, reason: str | None = None) -> bool:
        """Finish a response wherever it is made; return whether this did it. Its host stops making it."""
        return await self._database.write(lambda rows: rows.responses.end(response_id, status, reason=reason))

    async def delete(self, response_id: str, owner: str) -> None:
        """Delete the response; its host stops making it."""
        await self.get(response_id, owner)
        await self._database.write(lambda rows: rows.responses.delete(response_id, owner))

    async def usage(self) -> stored.Usage:
        return await self._database.read(usage_of)

    async def close(self) -> None:
        """Stop background work; no response may be held any more."""
        await self._renewal.close()

    async def _read(self, response_id: str, owner: str) -> stored.StoredResponse | None:
        if not is_session_id(response_id):
            return None
        return await self._database.read(lambda rows: rows.responses.get(response_id, owner))

    async def _existing(self, response_id: str, owner: str) -> None:
        try:
            await self.get(response_id, owner)
        except ResponseNotFound:
            raise _missing(response_id) from None

    async def _chain(
        self, response_id: str, owner: str
    ) -> tuple[tuple[stored.StoredResponse, ...], tuple[stored.Item, ...] | None]:
        """Return the response with its predecessors, and the items of the conversation before the first of them.

        The latter are ``None`` if the conversation was deleted.
        """

        def read(rows: Rows) -> tuple[tuple[stored.StoredResponse, ...], tuple[stored.Item, ...] | None]:
            chain = rows.responses.chain(response_id, owner)
            place = chain[0].conversation if chain else None
            if place is None:
                return chain, ()
            if rows.conversations.get(place.id, owner) is None:
                return chain, None
            return chain, rows.conversations.items(place.id, before=place.position)

        chain, before = await self._database.read(read)
        if not chain:
            raise _missing(response_id)
        return chain, before

    async def _touch(self, chain: Sequence[stored.StoredResponse]) -> None:
        """Have the whole of a conversation count as used, so that its beginning is not dropped before its end."""
        stale = [each.id for each in chain if datetime.now(UTC) - each.used_at > TOUCHED_AFTER]
        if not stale:
            return

        def touch(rows: Rows) -> None:
            rows.one_at_a_time()
            rows.responses.touch(stale)

        await self._database.write(touch, durable=False)

    def _is_lost(self, found: stored.StoredResponse) -> bool:
        if found.is_finished or found.holder is None or found.id in self._held:
            return False
        return found.is_expired or is_gone(found.holder, self.holder)

    async def _end_lost(self, found: stored.StoredResponse) -> None:
        assert found.holder is not None
        nonce, pid, name = found.holder.nonce, found.holder.pid, found.holder.name

        def end(rows: Rows) -> bool:
            return rows.responses.end(found.id, "incomplete", reason=stored.HOST_STOPPED, nonce=nonce)

        if await self._database.write(end):
            _log.warning("response_incomplete", response=found.id, pid=pid, host=name, reason=stored.HOST_STOPPED)

    async def _keep_within(self, usage: stored.Usage, newest: str) -> None:
        if self._retention.is_exceeded(usage):
            with log_failures("deleting old responses"):
                await self._apply(newest)

    async def _apply(self, newest: str) -> None:
        try:
            await self._retention.apply(newest)
        except DatabaseUnavailable as error:
            _log.warning("old_responses_not_deleted", reason=error.message)

    async def _renew(self, held: Sequence[str]) -> None:
        """Renew the leases of the held responses; one that another host has taken is not held any more."""
        kept = await self._database.write(
            lambda rows: rows.responses.renew(held, self.holder, LEASE_SECONDS), durable=False
        )
        for response_id in set(held) - set(kept):
            if (on_lost := self._held.pop(response_id, None)) is not None:
                on_lost()


def _continue_conversation(new: stored.NewResponse, body: stored.Item, rows: Rows) -> None:
    if new.conversation is not None and body["status"] in stored.KEPT_IN_CONVERSATIONS:
        rows.conversations.append(new.conversation.id, new.owner, [*new.own_input, *body["output"]])


def _missing(response_id: str, why: str = "") -> PreviousResponseNotFound:
    shown = response_id[:100]
    return PreviousResponseNotFound(
        f"Previous response with id '{shown}' not found. {why}".rstrip(),
        param="previous_response_id",
        response_id=shown,
    )
