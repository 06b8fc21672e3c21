"""Where SQLite and PostgreSQL say the same differently."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Interval, Table, func, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from modelhost.state.sql.tables import Utc


def insert_for(connection: Connection, table: Table) -> Any:
    """Return an ``INSERT`` that knows ``ON CONFLICT``."""
    return postgresql.insert(table) if is_postgresql(connection) else sqlite.insert(table)


def clock(connection: Connection, later_seconds: float = 0.0) -> ColumnElement[datetime]:
    """Return the time, so much later, by one clock for all who use the database."""
    later = timedelta(seconds=later_seconds)
    if is_postgresql(connection):
        return func.clock_timestamp(type_=DateTime(timezone=True)) + literal(later, Interval())
    return literal(datetime.now(UTC) + later, Utc())


def is_postgresql(connection: Connection) -> bool:
    """Whether it leads to PostgreSQL; to SQLite otherwise."""
    return connection.dialect.name == "postgresql"
