"""The statements about leases of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.engine import Connection

from modelhost.config.settings import SessionEviction
from modelhost.state.holders import Holder
from modelhost.state.sql.dialect import clock, insert_for
from modelhost.state.sql.session_rows import AT_ONCE
from modelhost.state.sql.tables import leases, sessions


class LeaseRows:
    """Leases, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def acquire(
        self, session_id: str, holder: Holder, seconds: float, *, instead_of: str | None = None
    ) -> Holder | None:
        """Give ``holder`` the lease; return who has it if it is somebody else.

        It is taken from one that has run out, and from the holder with the nonce ``instead_of``.
        """
        if session_id in self._take([session_id], holder, seconds, instead_of=instead_of):
            return None
        wanted = select(leases.c.name, leases.c.machine, leases.c.pid, leases.c.started, leases.c.nonce)
        row = (self._connection.execute(wanted.where(leases.c.session_id == session_id))).one_or_none()
        if row is None:  # It was given back between the two statements.
            return self.acquire(session_id, holder, seconds, instead_of=instead_of)
        return Holder(**row._mapping)

    def renew(self, ids: Sequence[str], holder: Holder, seconds: float) -> int:
        """Renew the leases of ``holder``; return how many it still has."""
        mine = leases.c.session_id.in_(ids) & (leases.c.nonce == holder.nonce)
        renewed = update(leases).where(mine).values(expires_at=clock(self._connection, seconds))
        return (self._connection.execute(renewed)).rowcount

    def release(self, session_id: str, holder: Holder) -> None:
        """Give the lease back, if ``holder`` still has it."""
        mine = (leases.c.session_id == session_id) & (leases.c.nonce == holder.nonce)
        self._connection.execute(delete(leases).where(mine))

    def drop_unused(self, most: int, eviction: SessionEviction, holder: Holder, seconds: float) -> Sequence[str]:
        """Remove sessions over ``most`` in the order of ``eviction``, and none that somebody holds.

        Their leases are taken for that: who asks for one meanwhile waits until it is gone. Return their ids.
        """
        count = (self._connection.execute(select(func.count()).select_from(sessions))).scalar_one()
        in_use = select(leases.c.session_id).where(leases.c.expires_at > clock(self._connection))
        first = sessions.c.created_at if eviction == "fifo" else sessions.c.updated_at
        unused = select(sessions.c.id).where(sessions.c.id.not_in(in_use)).order_by(first, sessions.c.id)
        dropped: list[str] = []
        while count - len(dropped) > most:
            oldest = unused.limit(min(count - len(dropped) - most, AT_ONCE))
            candidates = (self._connection.execute(oldest)).scalars().all()
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
        """Take the leases that can be taken; return which."""
        values = asdict(holder) | {"expires_at": clock(self._connection, seconds)}
        free = or_(leases.c.expires_at <= clock(self._connection), leases.c.nonce.in_([holder.nonce, instead_of]))
        statement = insert_for(self._connection, leases).values([{"session_id": name, **values} for name in ids])
        taken = statement.on_conflict_do_update(index_elements=["session_id"], set_=values, where=free)
        return (self._connection.execute(taken.returning(leases.c.session_id))).scalars().all()
