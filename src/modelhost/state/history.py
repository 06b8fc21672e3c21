"""The history of alerts and of metrics; what is in the latter is the monitor's (:mod:`modelhost.monitor.history`)."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from zlib import crc32

from modelhost.monitor.alerts.states import Alert
from modelhost.monitor.history import HistoryRows
from modelhost.state.lazy_database import LazyDatabase

if TYPE_CHECKING:
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
        """Whether the database is in use."""
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
