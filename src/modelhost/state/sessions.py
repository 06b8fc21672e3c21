"""Sessions: stored conversations, with one writer at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from modelhost.config.value_types import SessionEviction
from modelhost.errors import SessionBusy, SessionNotFound
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.leases import LEASE_SECONDS, Leases
from modelhost.state.records import Message, Removed, Session, SessionInfo, check_session_id
from modelhost.state.stored_session import Addition, StoredSession

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows

AT_ONCE: Final = 100
"""Sessions in memory at once while all are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept, and how long a request waits for a session."""

    sessions: int
    eviction: SessionEviction
    messages: int
    wait_seconds: float


class SessionStore:
    """The sessions in the database.

    Every method raises :class:`DatabaseUnavailable` if the database cannot be used.
    """

    def __init__(self, database: LazyDatabase, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._leases = Leases(database, wait_seconds=limits.wait_seconds)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, session_id: str) -> AsyncIterator[HeldSession]:
        """Hold the session: nobody else holds it meanwhile, in this process, in another one, on another host. It need
        not exist yet. :meth:`put_all`, :meth:`delete` and :meth:`clear` do not wait for who holds it, whose messages
        are added to what they leave.

        Tasks of this process get it in order. Among processes it is a lease in the database, renewed while it is held.
        The lease of a process on this machine that has ended is taken over at once, that of another machine when it
        expires, after 15 s.

        Raises:
            InvalidRequest: this cannot be the id of a session.
            SessionBusy: another process holds it for longer than ``session_timeout``.
        """
        check_session_id(session_id)
        turn = self._turns.setdefault(session_id, asyncio.Lock())
        async with turn, self._leases.lease(session_id) as stored:
            yield HeldSession(session_id, stored, self._append)

    async def get(self, session_id: str) -> Session:
        """Return the session with its messages; raises SessionNotFound if there is none."""
        found = await self._database.read(lambda rows: rows.sessions.get(session_id))
        if found is None:
            raise _not_found(session_id)
        return found

    async def list(self, *, limit: int = 100, before: datetime | None = None) -> tuple[SessionInfo, ...]:
        """Return sessions, the most recently used first; only those last used ``before`` that time, if it is given."""
        return await self._database.read(lambda rows: rows.sessions.list(limit=limit, before=before))

    async def count(self) -> int:
        return await self._database.read(lambda rows: rows.sessions.count())

    async def all(self) -> AsyncGenerator[Session, None]:
        """Yield every session as of one moment, the most recently used first; writers do not wait.

        Close it (``aclosing``) if you stop before its end.
        """
        async with (await self._database.get()).reading() as run:
            ids = await run(lambda rows: rows.sessions.ids())
            for start in range(0, len(ids), AT_ONCE):
                for session in await run(partial(_some, ids[start : start + AT_ONCE])):
                    yield session

    async def put(self, session: Session) -> bool:
        """Store ``session``, replacing one with its id, as :meth:`put_all` does; return whether it was kept."""
        return await self.put_all([session]) == 1

    async def put_all(self, sessions: Iterable[Session]) -> int:
        """Store all of ``sessions``, or none if something fails, replacing those with their ids.

        The limits apply: each session is trimmed, and sessions over the limit are dropped (``session_eviction``). A
        request that holds one of them adds its messages to what is stored here. Return how many were kept.

        Raises:
            InvalidRequest: an id cannot be the id of a session.
        """
        given = {session.id: session for session in sessions}
        for session_id in given:
            check_session_id(session_id)
        limits, holder = self._limits, self._leases.holder

        def put(rows: Rows) -> int:
            rows.one_at_a_time()
            rows.sessions.put_all(given.values(), most_messages=limits.messages)
            dropped = rows.leases.drop_unused(limits.sessions, limits.eviction, holder, LEASE_SECONDS)
            return len(given.keys() - set(dropped))

        return await self._database.write(put)

    async def delete(self, session_id: str) -> Removed:
        """Delete the session. A request that holds it starts it again with its own messages.

        Raises:
            SessionNotFound: there is none.
        """
        removed = await self.clear(session_id=session_id)
        if not removed.items:
            raise _not_found(session_id)
        return removed

    async def clear(self, *, session_id: str | None = None, older_than: datetime | None = None) -> Removed:
        """Delete all sessions, or those that match: by id, and last used before ``older_than``."""

        def clear(rows: Rows) -> Removed:
            rows.one_at_a_time()
            return rows.sessions.clear(session_id=session_id, older_than=older_than)

        return await self._database.write(clear)

    async def close(self) -> None:
        """Stop background work; no session may be held any more."""
        await self._leases.close()

    async def _append(self, session_id: str, stored: StoredSession | None, addition: Addition) -> StoredSession:
        limits, holder = self._limits, self._leases.holder

        def append(rows: Rows) -> StoredSession:
            if stored is None:
                rows.one_at_a_time()
            if not rows.leases.renew([session_id], holder, LEASE_SECONDS):
                raise SessionBusy(
                    f'The session "{session_id}" was taken over by another host, because this one was not heard of for '
                    f"{LEASE_SECONDS:g} s: this answer is not stored in it. Send the request again.",
                    session_id=session_id,
                )
            now = rows.sessions.append(session_id, stored, addition, most_messages=limits.messages)
            if stored is None:
                rows.leases.drop_unused(limits.sessions, limits.eviction, holder, LEASE_SECONDS)
            return now

        return await self._database.write(append)


class HeldSession:
    """A session that its holder alone may write to."""

    def __init__(
        self,
        session_id: str,
        stored: StoredSession | None,
        append: Callable[[str, StoredSession | None, Addition], Awaitable[StoredSession]],
    ) -> None:
        self.id = session_id
        self._stored = stored
        self._append = append

    @property
    def model(self) -> str | None:
        """The model of the latest answer."""
        return self._stored.model if self._stored is not None else None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The stored messages, the system message first if there is one."""
        return self._stored.messages if self._stored is not None else ()

    async def append(
        self, messages: Sequence[Message], *, system: Message | None = None, model: str | None = None
    ) -> None:
        """Append ``messages``: all of them, or none if this raises. They survive a power failure when it returns.

        ``system`` replaces the session's system message, ``model`` its model. The oldest messages over
        ``max_session_messages`` are dropped. A new session over ``max_sessions`` drops the oldest or the least recently
        used ones (``session_eviction``) that nobody holds.

        Raises:
            SessionBusy: the session was lost to another host.
            DatabaseUnavailable: the database cannot be used.
        """
        addition = Addition(messages=tuple(messages), system=system, model=model)
        self._stored = await self._append(self.id, self._stored, addition)


def _some(ids: Sequence[str], rows: Rows) -> tuple[Session, ...]:
    return rows.sessions.some(ids)


def _not_found(session_id: str) -> SessionNotFound:
    return SessionNotFound(f'There is no session "{session_id}".', session_id=session_id)
