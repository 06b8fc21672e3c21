"""The state of a host: its sessions, saved states and audit log."""

from __future__ import annotations

from datetime import timedelta

from modelhost.config.directories import data_directory, database_place
from modelhost.config.settings import Settings
from modelhost.state.audit import AuditLog
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.sessions import Limits, SessionStore
from modelhost.state.snapshots import SnapshotStore


class StateStore:
    """The database of a host; opened when it is first used."""

    def __init__(self, settings: Settings) -> None:
        self.data_dir = data_directory(settings)
        self.database = LazyDatabase(database_place(settings))
        """Shared by the stores below."""
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
        """Open the database, migrate its tables to this version, and delete old entries of the audit log.

        Every use does that, too; calling this reports problems at once. It may be called repeatedly and concurrently.

        Raises:
            DatabaseUnavailable: it cannot be reached, read or written, or a newer version created it.
        """
        await self.database.get()
        self.audit.start()

    async def close(self) -> None:
        """Write the rest of the audit log, and close the database."""
        await self.audit.close()
        await self.sessions.close()
        await self.database.close()
