"""The state of a host: sessions, saved states, responses, audit log, and the past of metrics and alerts."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from modelhost import lazy
from modelhost.config.directories import data_directory, database_place
from modelhost.config.settings import Settings
from modelhost.state.audit import AuditLog
from modelhost.state.conversations import ConversationStore
from modelhost.state.decisions import DecisionStore
from modelhost.state.history.alerts import AlertHistory
from modelhost.state.history.database import HistoryDatabase
from modelhost.state.history.metrics import MetricStore
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.responses import ResponseStore
from modelhost.state.retention import ResponseLimits, Retention
from modelhost.state.sessions import Limits, SessionStore
from modelhost.state.snapshots import SnapshotStore

if TYPE_CHECKING:
    from modelhost.state.sealing import SealStore

BYTES_PER_MB: Final = 1_000_000


class StateStore:
    """The database of a host; opened when it is first used."""

    def __init__(self, settings: Settings) -> None:
        self.data_dir = data_directory(settings)
        self.database = LazyDatabase(database_place(settings))
        """Shared by the stores below."""
        self._history = HistoryDatabase(self.database)
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
        retention = Retention(
            self.database,
            ResponseLimits(
                count=settings.max_responses,
                size_bytes=int(settings.max_responses_mb * BYTES_PER_MB),
                unused=timedelta(days=settings.response_retention_days),
            ),
        )
        self.responses = ResponseStore(self.database, retention)
        self.conversations = ConversationStore(self.database, retention)
        self.decisions = DecisionStore(self.database)
        self.metrics = MetricStore(self._history, self.data_dir)
        self.audit = AuditLog(self.database, retention=timedelta(days=settings.audit_retention_days))
        self.alerts = AlertHistory(self._history)

    @cached_property
    def seals(self) -> SealStore:
        """The seal of all hosts of this database."""
        return lazy.state_sealing.SealStore(self.database)

    async def open(self) -> None:
        """Open the database, migrate its tables to this version, and delete old entries of the audit log.

        Every use does that, too; calling this reports problems at once. It may be called repeatedly and concurrently.

        Raises:
            DatabaseUnavailable: it cannot be reached, read or written, or a newer version created it.
        """
        await self.database.get()
        self.audit.start()

    async def check(self) -> None:
        """Do nothing in a transaction that may write.

        Raises:
            DatabaseUnavailable: as :meth:`open`; or the file of the database was removed or replaced.
        """
        database = await self.database.get()
        await database.check_place()
        await database.write(lambda rows: rows.check(), durable=False)

    async def close(self) -> None:
        """Write the rest of the audit log, and close the database."""
        await self.audit.close()
        await self.sessions.close()
        await self.responses.close()
        await self._history.close()
        await self.database.close()
