"""The history of alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from modelhost.monitor.alerts.states import Alert
from modelhost.state.history.alert_rows import AlertRows
from modelhost.state.history.database import HistoryDatabase
from modelhost.state.history.statements import Statements

RETENTION: Final = timedelta(days=90)
"""As long as measurements are kept."""


class AlertHistory:
    """Alerts that fired and were resolved, of all hosts that share the database; kept for 90 days.

    All methods raise :class:`modelhost.errors.DatabaseUnavailable` if the database cannot be used.
    """

    def __init__(self, database: HistoryDatabase) -> None:
        self._database = database

    @property
    def is_open(self) -> bool:
        """Whether the database is in use."""
        return self._database.is_open

    async def add(self, alerts: Sequence[Alert]) -> None:
        """Store ``alerts``, each with the time at which it fired or was resolved."""

        def store(statements: Statements) -> None:
            rows = AlertRows(statements)
            rows.add(alerts)
            rows.purge(datetime.now(UTC) - RETENTION)

        await self._database.write(store)

    async def list(self, *, limit: int, before: datetime | None = None, rule: str | None = None) -> Sequence[Alert]:
        """Return the matching alerts, the newest change first."""
        return await self._database.read(
            lambda statements: AlertRows(statements).list(limit=limit, before=before, rule=rule)
        )
