"""The tables as of the newest migration, and the differences between SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from modelhost.config.value_types import LONGEST_ID


class Utc(sa.TypeDecorator[datetime]):
    """An aware time in UTC; stored without a zone in SQLite, which has none."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        """Raise :class:`ValueError` for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """Return the time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


metadata: Final = sa.MetaData()

sessions: Final = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(LONGEST_ID), primary_key=True),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("updated_at", Utc, nullable=False),
    sa.Column("model", sa.Text),
    sa.Column("system", sa.LargeBinary, nullable=False),  # JSON: a list of messages
    sa.Column("next_position", sa.BigInteger, nullable=False),
    sa.Column("message_count", sa.Integer, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Index("sessions_by_use", "updated_at", "id"),
    sa.Index("sessions_by_age", "created_at", "id"),
)

messages: Final = sa.Table(
    "messages",
    metadata,
    sa.Column("session_id", sa.String(LONGEST_ID), sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # JSON
    # Stores the messages of a session next to each other.
    sqlite_with_rowid=False,
)

leases: Final = sa.Table(
    "leases",
    metadata,
    sa.Column("session_id", sa.String(LONGEST_ID), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("machine", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("started", sa.Float(53), nullable=False),
    sa.Column("nonce", sa.String(32), nullable=False),
    sa.Column("expires_at", Utc, nullable=False),
)

snapshots: Final = sa.Table(
    "snapshots",
    metadata,
    sa.Column("state_id", sa.String(64), primary_key=True),
    sa.Column("session_id", sa.String(LONGEST_ID), nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("compression", sa.String(16), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("models", sa.Integer, nullable=False),
    sa.Column("conversations", sa.Integer, nullable=False),
    sa.Column("configurations", sa.Integer, nullable=False),
    sa.Column("has_metrics", sa.Boolean, nullable=False),
    sa.Column("files", sa.LargeBinary, nullable=False),  # JSON: the names of the prompt caches
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Index("snapshots_by_session", "session_id", "created_at"),
)

audit: Final = sa.Table(
    "audit",
    metadata,
    # SQLite increments only its own integer type.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", Utc, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("face", sa.String(16), nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("arguments", sa.LargeBinary, nullable=False),  # JSON
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("duration_ms", sa.Float(53), nullable=False),
    sa.Column("request_id", sa.Text),
    sa.Column("model", sa.Text),
    sa.Index("audit_by_time", "at", "id"),
)

responses: Final = sa.Table(
    "responses",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("used_at", Utc, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("is_background", sa.Boolean, nullable=False),
    sa.Column("previous_id", sa.String(64)),
    sa.Column("conversation_id", sa.String(64)),
    sa.Column("conversation_position", sa.BigInteger),  # where the response's own items begin in its conversation
    sa.Column("input", sa.LargeBinary, nullable=False),  # JSON: a list of items, without those of the predecessors
    sa.Column("body", sa.LargeBinary, nullable=False),  # JSON: the response object
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    # The process that makes the response; null once the response is over.
    sa.Column("name", sa.Text),
    sa.Column("machine", sa.Text),
    sa.Column("pid", sa.BigInteger),
    sa.Column("started", sa.Float(53)),
    sa.Column("nonce", sa.String(32)),
    sa.Column("expires_at", Utc),
    sa.Index("responses_by_use", "used_at", "id", "size_bytes"),
)

response_items: Final = sa.Table(
    "response_items",
    metadata,
    sa.Column("item_id", sa.String(LONGEST_ID), primary_key=True),
    sa.Column("response_id", sa.String(64), sa.ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    sa.Index("response_items_by_response", "response_id"),
    sqlite_with_rowid=False,
)

response_events: Final = sa.Table(
    "response_events",
    metadata,
    sa.Column("response_id", sa.String(64), sa.ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("sequence_number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # JSON
    sqlite_with_rowid=False,
)

conversations: Final = sa.Table(
    "conversations",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("used_at", Utc, nullable=False),
    sa.Column("metadata", sa.LargeBinary, nullable=False),  # JSON
    sa.Column("next_position", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Index("conversations_by_use", "used_at", "id", "size_bytes"),
)

conversation_items: Final = sa.Table(
    "conversation_items",
    metadata,
    sa.Column(
        "conversation_id", sa.String(64), sa.ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("item_id", sa.String(LONGEST_ID), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # JSON
    sa.Index("conversation_items_by_id", "item_id", "conversation_id", unique=True),
    sqlite_with_rowid=False,
)

keys: Final = sa.Table(
    "keys",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("secret", sa.LargeBinary, nullable=False),
)

decisions: Final = sa.Table(
    "decisions",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),  # a digest of owner and approval request
    sa.Column("taken_at", Utc, nullable=False),
    sqlite_with_rowid=False,
)

alerts: Final = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", Utc, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("condition", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("value", sa.Float(53), nullable=False),
    sa.Column("started_at", Utc, nullable=False),
    sa.Column("fired_at", Utc, nullable=False),
    sa.Column("resolved_at", Utc),
    sa.Index("alerts_by_time", "at", "id"),
)

metrics: Final = sa.Table(
    "metrics",
    metadata,
    sa.Column("source", sa.String(128), primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("writer", sa.String(16), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),  # of modelhost.monitor.cells
)


def insert_for(connection: Connection, table: sa.Table) -> Any:
    """Return an ``INSERT`` with support for ``ON CONFLICT``."""
    return postgresql.insert(table) if is_postgresql(connection) else sqlite.insert(table)


def clock(connection: Connection, later_seconds: float = 0.0) -> sa.ColumnElement[datetime]:
    """Return the time plus ``later_seconds``, by one clock for all users of the database."""
    later = timedelta(seconds=later_seconds)
    if is_postgresql(connection):
        return sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)) + sa.literal(later, sa.Interval())
    return sa.literal(datetime.now(UTC) + later, Utc())


def is_postgresql(connection: Connection) -> bool:
    """Whether it is a connection to PostgreSQL, and not to SQLite."""
    return connection.dialect.name == "postgresql"


class TableRows:
    """The statements about a table or a few, within the transaction of ``connection``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


AT_ONCE: Final = 500
"""Rows that one statement inserts or names: the number of parameters is limited."""


def in_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield ``ids`` in parts that one statement can name."""
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
