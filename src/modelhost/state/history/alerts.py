"""The history of alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from modelhost.monitor.alerts.states import Alert, AlertState
from modelhost.state.history.database import HistoryDatabase
from modelhost.state.history.statements import Statements

_TIMES: Final = ("started_at", "fired_at", "resolved_at")
_COLUMNS: Final = tuple(field.name for field in fields(Alert))
ADD: Final = (
    "INSERT INTO alerts (at, rule, host, subject, metric, severity, condition, summary, state, value, started_at, "
    "fired_at, resolved_at) VALUES (:at, :rule, :host, :subject, :metric, :severity, :condition, :summary, :state, "
    ":value, :started_at, :fired_at, :resolved_at)"
)
LIST: Final = (
    "SELECT rule, host, subject, metric, severity, condition, summary, state, value, started_at, fired_at, resolved_at "
    "FROM alerts WHERE "
)
ORDER: Final = " ORDER BY at DESC, id DESC LIMIT :limit"
PURGE: Final = "DELETE FROM alerts WHERE at < :older_than"


class AlertRows:
    """The stored alerts."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def add(self, added: Sequence[Alert]) -> None:
        """Insert a row for each change of an alert, of which there is at least one."""
        self._statements.change(ADD, [self._row(alert) for alert in added])

    def list(self, *, limit: int, before: datetime | None, rule: str | None) -> tuple[Alert, ...]:
        """Return the matching alerts, the newest change first."""
        conditions, values = ["TRUE"], dict[str, Any]()
        if before is not None:
            conditions.append("at < :before")
            values["before"] = self._stored(before)
        if rule is not None:
            conditions.append("rule = :rule")
            values["rule"] = rule
        wanted = LIST + " AND ".join(conditions) + ORDER
        return tuple(map(_alert, self._statements.query(wanted, limit=limit, **values)))

    def purge(self, older_than: datetime) -> None:
        """Delete older rows."""
        self._statements.change(PURGE, [{"older_than": self._stored(older_than)}])

    def _row(self, alert: Alert) -> dict[str, Any]:
        row: dict[str, Any] = {name: getattr(alert, name) for name in _COLUMNS}
        row["subject"] = alert.subject.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL's text cannot have it
        row["state"], row["severity"] = str(alert.state), str(alert.severity)
        times = {name: None if row[name] is None else datetime.fromtimestamp(row[name], UTC) for name in _TIMES}
        row |= {name: None if at is None else self._stored(at) for name, at in times.items()}
        return {**row, "at": row["resolved_at"] or row["fired_at"]}

    def _stored(self, at: datetime) -> Any:
        """Return ``at`` as the database keeps it: in SQLite, SQLAlchemy's format for texts that sort as times do."""
        at = at.astimezone(UTC)
        return at if self._statements.is_postgresql else at.replace(tzinfo=None).isoformat(" ", "microseconds")


def _alert(row: Sequence[Any]) -> Alert:
    values = dict(zip(_COLUMNS, row, strict=True))
    values |= {name: _seconds(values[name]) for name in _TIMES}
    return Alert(**{**values, "state": AlertState(values["state"])})


def _seconds(stored: datetime | str | None) -> float | None:
    if stored is None:
        return None
    return (datetime.fromisoformat(stored).replace(tzinfo=UTC) if isinstance(stored, str) else stored).timestamp()


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
