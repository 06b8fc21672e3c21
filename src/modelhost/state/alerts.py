"""The history of alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from modelhost.monitor.alerts.states import Alert
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

        await (await self._database.get()).write(store, durable=False)

    async def list(self, *, limit: int, before: datetime | None = None, rule: str | None = None) -> Sequence[Alert]:
        """Return the matching alerts, the newest change first."""
        database = await self._database.get()
        return await database.read(lambda rows: rows.alerts.list(limit=limit, before=before, rule=rule))
