"""Everything that a host keeps, behind one door."""

from __future__ import annotations

from datetime import timedelta

from modelhost.config.directories import data_directory, database_place
from modelhost.config.settings import Settings
from modelhost.state.audit import AuditLog
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.sessions import Limits, SessionStore
from modelhost.state.snapshots import SnapshotStore


class StateStore:
    """The database of a host; opened at first use."""

    def __init__(self, settings: Settings) -> None:
        self.data_dir = data_directory(settings)
        self.database = LazyDatabase(database_place(settings))
        """What all of the others keep their rows in."""
        self.sessions = SessionStore(
            self.database,
            Limits(
                sessions=settings.max_sessions,
                eviction=settings.session_eviction,
                messages=settings.max_session_messages,
                wait_seconds=settings.session_timeout,
            ),
        )
        self.snapshots = SnapshotStore(self.database)
        self.audit = AuditLog(self.database, retention=timedelta(days=settings.audit_retention_days))

    async def open(self) -> None:
        """Open the database, bring its tables to this version, and forget old entries of the audit log.

        Whatever needs the database does it by itself; who calls this learns at once if something is wrong. It may be
        called again, and by many tasks at a time.

        Raises:
            DatabaseUnavailable: it cannot be reached, read or written, or a newer version made it.
        """
        await self.database.get()
        self.audit.start()

    async def close(self) -> None:
        """Write what the audit log still has, and close the database."""
        await self.audit.close()
        await self.sessions.close()
        await self.database.close()
