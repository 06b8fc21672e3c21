"""The statements for alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from modelhost.monitor.alerts.states import Alert, AlertState
from modelhost.state.sql.tables import alerts

_TIMES: Final = ("started_at", "fired_at", "resolved_at")
_COLUMNS: Final = tuple(alerts.c[field.name] for field in fields(Alert))


class AlertRows:
    """Alerts that fired and were resolved, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, added: Sequence[Alert]) -> None:
        """Insert a row for each change of an alert."""
        self._connection.execute(insert(alerts), [_row(alert) for alert in added])

    def list(self, *, limit: int, before: datetime | None, rule: str | None) -> tuple[Alert, ...]:
        """Return the matching alerts, the newest change first."""
        wanted = select(*_COLUMNS).order_by(alerts.c.at.desc(), alerts.c.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(alerts.c.at < before)
        if rule is not None:
            wanted = wanted.where(alerts.c.rule == rule)
        return tuple(_alert(row._mapping) for row in self._connection.execute(wanted))

    def purge(self, older_than: datetime) -> int:
        """Delete older rows; return how many there were."""
        return self._connection.execute(delete(alerts).where(alerts.c.at < older_than)).rowcount


def _row(alert: Alert) -> dict[str, Any]:
    row: dict[str, Any] = {field.name: getattr(alert, field.name) for field in fields(Alert)}
    row["subject"] = alert.subject.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL's text cannot have it
    row |= {name: None if row[name] is None else datetime.fromtimestamp(row[name], UTC) for name in _TIMES}
    return {**row, "at": row["resolved_at"] or row["fired_at"]}


def _alert(row: Mapping[Any, Any]) -> Alert:
    values = dict(row)
    values |= {name: None if values[name] is None else values[name].timestamp() for name in _TIMES}
    return Alert(**{**values, "state": AlertState(values["state"])})
