"""The statements about decisions on calls that need approval."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete
from sqlalchemy.engine import Connection

from modelhost.state.sql.tables import decisions, insert_for


class DecisionRows:
    """Decisions, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, name: str) -> bool:
        """Insert a decision; return whether there was none. Another transaction that inserts it is waited for."""
        row = insert_for(self._connection, decisions).values(name=name, taken_at=datetime.now(UTC))
        return bool(self._connection.execute(row.on_conflict_do_nothing()).rowcount)

    def remove(self, names: Sequence[str]) -> None:
        """Delete decisions."""
        self._connection.execute(delete(decisions).where(decisions.c.name.in_(names)))

    def purge(self, older_than: datetime) -> None:
        """Delete older decisions."""
        self._connection.execute(delete(decisions).where(decisions.c.taken_at < older_than))
