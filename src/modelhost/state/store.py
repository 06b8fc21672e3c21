"""The state of a host: sessions, saved states, responses, audit log, and the past of metrics and alerts."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from zlib import crc32

from modelhost import lazy
from modelhost.config.directories import data_directory, database_place
from modelhost.config.settings import Settings
from modelhost.monitor.alerts.states import Alert
from modelhost.monitor.history import HistoryRows
from modelhost.state.audit import AuditLog
from modelhost.state.conversations import ConversationStore
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.responses import DecisionStore, ResponseStore
from modelhost.state.retention import ResponseLimits, Retention
from modelhost.state.sessions import Limits, SessionStore
from modelhost.state.snapshots import SnapshotStore

if TYPE_CHECKING:
    from modelhost.state.sealing import SealStore
    from modelhost.state.sql.rows import Rows

RETENTION: Final = timedelta(days=90)
"""As long as measurements are kept."""


class AlertHistory:
    """Alerts that fired and were resolved, of all hosts that share the database; kept for 90 days.

    All methods raise :class:`modelhost.errors.DatabaseUnavailable` if the database cannot be used.
    """

    def __init__(self, database: LazyDatabase) -> None:
        self._database = database

    @property
    def is_open(self) -> bool:
        return self._database.is_open

    async def add(self, alerts: Sequence[Alert]) -> None:
        """Store ``alerts``, each with the time at which it fired or was resolved."""

        def store(rows: Rows) -> None:
            rows.alerts.add(alerts)
            rows.alerts.purge(datetime.now(UTC) - RETENTION)

        await self._database.write(store, durable=False)

    async def list(self, *, limit: int, before: datetime | None = None, rule: str | None = None) -> Sequence[Alert]:
        """Return the matching alerts, the newest change first."""
        return await self._database.read(lambda rows: rows.alerts.list(limit=limit, before=before, rule=rule))


T = TypeVar("T")


class MetricStore:
    """A :class:`modelhost.monitor.history.HistoryStore`."""

    def __init__(self, database: LazyDatabase, data_dir: Path) -> None:
        self._database = database
        self._data_dir = data_dir

    @property
    def source(self) -> str:
        """The name of this host among those of a database, the same after a restart: machine and data directory."""
        return f"{platform.node()[:64]}-{crc32(str(self._data_dir).encode()):08x}"

    @property
    def is_open(self) -> bool:
        return self._database.is_open

    async def read(self, work: Callable[[HistoryRows], T]) -> T:
        database = await self._database.get()
        await database.check_place()
        return await database.read(lambda rows: work(rows.metrics))

    async def write(self, work: Callable[[HistoryRows], T]) -> T:
        database = await self._database.get()
        await database.check_place()
        return await database.write(lambda rows: work(rows.metrics), durable=False)


BYTES_PER_MB: Final = 1_000_000


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
        self.metrics = MetricStore(self.database, self.data_dir)
        self.audit = AuditLog(self.database, retention=timedelta(days=settings.audit_retention_days))
        self.alerts = AlertHistory(self.database)

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
        await self.database.close()
