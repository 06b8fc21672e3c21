"""The statements about sessions, their messages and their leases."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select, update

from modelhost.config.value_types import SessionEviction
from modelhost.errors import StateDamaged
from modelhost.state.leases import Holder
from modelhost.state.records import Message, Removed, Session, SessionInfo, system_and_rest
from modelhost.state.sql.tables import TableRows, clock, insert_for, leases, messages, sessions
from modelhost.state.stored_session import Addition, StoredMessage, StoredSession, append, trim, with_positions

AT_ONCE: Final = 200
"""Sessions that one statement reads or replaces: their ids are parameters, whose number is limited."""
_NOTHING: Final = StoredSession(revision=0, model=None, system=(), lines=(), next_position=0)
"""A session without messages yet."""
_INFO: Final = (
    sessions.c.id,
    sessions.c.created_at,
    sessions.c.updated_at,
    sessions.c.message_count,
    sessions.c.model,
    sessions.c.size_bytes,
)


class SessionRows(TableRows):
    def stored(self, session_id: str) -> StoredSession | None:
        wanted = select(sessions).where(sessions.c.id == session_id)
        row = self._connection.execute(wanted).one_or_none()
        return None if row is None else self._with_lines(row)

    def get(self, session_id: str) -> Session | None:
        wanted = select(sessions).where(sessions.c.id == session_id)
        row = self._connection.execute(wanted).one_or_none()
        return None if row is None else _session(row, (self._with_lines(row)).messages)

    def list(self, *, limit: int, before: datetime | None) -> tuple[SessionInfo, ...]:
        """Return sessions, the most recently used first."""
        wanted = select(*_INFO).order_by(sessions.c.updated_at.desc(), sessions.c.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(sessions.c.updated_at < before)
        return tuple(SessionInfo(**row._mapping) for row in self._connection.execute(wanted))

    def count(self) -> int:
        return int(self._connection.execute(select(func.count()).select_from(sessions)).scalar_one())

    def ids(self) -> Sequence[str]:
        """Return all ids, the most recently used first."""
        order = select(sessions.c.id).order_by(sessions.c.updated_at.desc(), sessions.c.id.desc())
        return self._connection.execute(order).scalars().all()

    def some(self, ids: Sequence[str]) -> tuple[Session, ...]:
        """Return the sessions with these ids, at most ``AT_ONCE``, in their order."""
        rows = {row.id: row for row in self._connection.execute(select(sessions).where(sessions.c.id.in_(ids)))}
        lines = self._lines(messages.c.session_id.in_(ids))
        return tuple(
            _session(rows[name], (*_decoded(name, rows[name].system), *(line.message for line in lines.get(name, ()))))
            for name in ids
            if name in rows
        )

    def append(
        self, session_id: str, known: StoredSession | None, addition: Addition, *, most_messages: int
    ) -> StoredSession:
        """Append to the session, which the caller knows as ``known``; return the stored session."""
        now = datetime.now(UTC)
        if known is None:
            self._connection.execute(
                insert_for(self._connection, sessions).on_conflict_do_nothing(),
                {"id": session_id, "created_at": now, **_values(_NOTHING, now)},
            )
        wanted = select(sessions.c.revision).where(sessions.c.id == session_id).with_for_update()
        revision = self._connection.execute(wanted).scalar_one_or_none()
        if revision is None:  # It was deleted meanwhile.
            return self.append(session_id, None, addition, most_messages=most_messages)
        if revision == _NOTHING.revision:
            known = None
        elif known is None or revision != known.revision:
            known = self.stored(session_id)
        growth = append(known, addition, revision=_new_revision(), most_messages=most_messages)
        changed = update(sessions).where(sessions.c.id == session_id).values(_values(growth.after, now))
        self._connection.execute(changed)
        self._insert((session_id, line) for line in growth.added)
        if growth.removed:
            self._connection.execute(
                delete(messages).where(messages.c.session_id == session_id, messages.c.position.in_(growth.removed))
            )
        return growth.after

    def put_all(self, given: Collection[Session], *, most_messages: int) -> None:
        """Store the sessions, replacing those with their ids."""
        ordered = sorted(given, key=lambda session: session.id)
        for start in range(0, len(ordered), AT_ONCE):
            chunk = ordered[start : start + AT_ONCE]
            self._connection.execute(delete(sessions).where(sessions.c.id.in_([session.id for session in chunk])))
            stored = [(session, _as_stored(session, most_messages)) for session in chunk]
            self._connection.execute(
                insert(sessions),
                [
                    {"id": session.id, "created_at": session.created_at, **_values(new, session.updated_at)}
                    for session, new in stored
                ],
            )
            self._insert([(session.id, line) for session, new in stored for line in new.lines])

    def clear(self, *, session_id: str | None, older_than: datetime | None) -> Removed:
        conditions: list[ColumnElement[bool]] = []
        if session_id is not None:
            conditions.append(sessions.c.id == session_id)
        if older_than is not None:
            conditions.append(sessions.c.updated_at < older_than)
        gone = self._connection.execute(
            delete(sessions).where(*conditions).returning(sessions.c.message_count, sessions.c.size_bytes)
        )
        rows = gone.all()
        return Removed(
            items=len(rows),
            messages=sum(row.message_count for row in rows),
            bytes=sum(row.size_bytes for row in rows),
        )

    def _insert(self, lines: Iterable[tuple[str, StoredMessage]]) -> None:
        rows = [{"session_id": name, "position": line.position, "body": line.body} for name, line in lines]
        if rows:
            self._connection.execute(insert(messages), rows)

    def _with_lines(self, row: Row[Any]) -> StoredSession:
        lines = self._lines(messages.c.session_id == row.id)
        return StoredSession(
            revision=row.revision,
            model=row.model,
            system=tuple(_decoded(row.id, row.system)),
            lines=tuple(lines.get(row.id, ())),
            next_position=row.next_position,
        )

    def _lines(self, condition: ColumnElement[bool]) -> dict[str, Sequence[StoredMessage]]:
        wanted = select(messages).where(condition).order_by(messages.c.session_id, messages.c.position)
        found = defaultdict(list)
        for session_id, position, body in self._connection.execute(wanted):
            found[session_id].append(StoredMessage(position=position, message=_decoded(session_id, body), body=body))
        return dict(found)


def _decoded(session_id: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise StateDamaged(
            f'The session "{session_id}" holds a message that is not JSON: it was changed from outside. Delete the '
            "session, or restore it from a saved state.",
            session_id=session_id,
        ) from None


def _session(row: Row[Any], all_messages: Sequence[Message]) -> Session:
    info = {column.name: getattr(row, column.name) for column in _INFO}
    return Session(**info, messages=tuple(all_messages))


def _as_stored(session: Session, most_messages: int) -> StoredSession:
    system, rest = system_and_rest(trim(session.messages, most_messages))
    return StoredSession(
        revision=_new_revision(),
        model=session.model,
        system=tuple(system),
        lines=with_positions(rest),
        next_position=len(rest),
    )


def _values(stored: StoredSession, updated_at: datetime) -> dict[str, Any]:
    return {
        "updated_at": updated_at,
        "model": stored.model,
        "system": orjson.dumps(stored.system),
        "next_position": stored.next_position,
        "message_count": len(stored.system) + len(stored.lines),
        "size_bytes": stored.size_bytes,
        "revision": stored.revision,
    }


def _new_revision() -> int:
    """Return a number that no other change of a session has."""
    return secrets.randbits(62) + 1


class LeaseRows(TableRows):
    def acquire(
        self, session_id: str, holder: Holder, seconds: float, *, instead_of: str | None = None
    ) -> Holder | None:
        """Acquire the lease for ``holder``; return its holder if that is another.

        An expired lease is taken over, and that of the holder with the nonce ``instead_of``.
        """
        if session_id in self._take([session_id], holder, seconds, instead_of=instead_of):
            return None
        wanted = select(leases.c.name, leases.c.machine, leases.c.pid, leases.c.started, leases.c.nonce)
        row = self._connection.execute(wanted.where(leases.c.session_id == session_id)).one_or_none()
        if row is None:  # It was released between the two statements.
            return self.acquire(session_id, holder, seconds, instead_of=instead_of)
        return Holder(**row._mapping)

    def renew(self, ids: Sequence[str], holder: Holder, seconds: float) -> int:
        """Renew the leases of ``holder``; return how many it still holds."""
        mine = leases.c.session_id.in_(ids) & (leases.c.nonce == holder.nonce)
        renewed = update(leases).where(mine).values(expires_at=clock(self._connection, seconds))
        return self._connection.execute(renewed).rowcount

    def release(self, session_id: str, holder: Holder) -> None:
        """Release the lease, if ``holder`` still holds it."""
        mine = (leases.c.session_id == session_id) & (leases.c.nonce == holder.nonce)
        self._connection.execute(delete(leases).where(mine))

    def drop_unused(self, most: int, eviction: SessionEviction, holder: Holder, seconds: float) -> Sequence[str]:
        """Delete sessions over ``most`` in the order of ``eviction``, but none that are held; return their ids.

        Their leases are acquired for that, so that others wait until they are deleted.
        """
        count = self._connection.execute(select(func.count()).select_from(sessions)).scalar_one()
        in_use = select(leases.c.session_id).where(leases.c.expires_at > clock(self._connection))
        first = sessions.c.created_at if eviction == "fifo" else sessions.c.updated_at
        unused = select(sessions.c.id).where(sessions.c.id.not_in(in_use)).order_by(first, sessions.c.id)
        dropped: list[str] = []
        while count - len(dropped) > most:
            oldest = unused.limit(min(count - len(dropped) - most, AT_ONCE))
            candidates = self._connection.execute(oldest).scalars().all()
            taken = self._take(candidates, holder, seconds) if candidates else []
            if not taken:
                break
            self._connection.execute(delete(sessions).where(sessions.c.id.in_(taken)))
            self._connection.execute(delete(leases).where(leases.c.session_id.in_(taken)))
            dropped += taken
        return dropped

    def _take(
        self, ids: Sequence[str], holder: Holder, seconds: float, *, instead_of: str | None = None
    ) -> Sequence[str]:
        values = asdict(holder) | {"expires_at": clock(self._connection, seconds)}
        free = or_(leases.c.expires_at <= clock(self._connection), leases.c.nonce.in_([holder.nonce, instead_of]))
        statement = insert_for(self._connection, leases).values([{"session_id": name, **values} for name in ids])
        taken = statement.on_conflict_do_update(index_elements=["session_id"], set_=values, where=free)
        return self._connection.execute(taken.returning(leases.c.session_id)).scalars().all()
