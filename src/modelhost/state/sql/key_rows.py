"""The statements about keys."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.engine import Connection

from modelhost.state.sql.tables import insert_for, keys


class KeyRows:
    """Keys, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> bytes | None:
        """Return the key."""
        found: bytes | None = self._connection.execute(
            select(keys.c.secret).where(keys.c.name == name)
        ).scalar_one_or_none()
        return found

    def make(self, name: str, secret: bytes) -> bytes:
        """Store ``secret`` as the key unless there is one; return the key in force."""
        stored = insert_for(self._connection, keys).values(name=name, secret=secret).on_conflict_do_nothing()
        self._connection.execute(stored)
        return self.get(name) or secret
