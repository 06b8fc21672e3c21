"""The tables as of the newest migration, and the differences between SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    func,
    literal,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from modelhost.config.value_types import LONGEST_ID


class Utc(TypeDecorator[datetime]):
    """An aware time in UTC; stored without a zone in SQLite, which has none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Raise :class:`ValueError` for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


metadata: Final = MetaData()

sessions: Final = Table(
    "sessions",
    metadata,
    Column("id", String(LONGEST_ID), primary_key=True),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    Column("model", Text),
    Column("system", LargeBinary, nullable=False),  # JSON: a list of messages
    Column("next_position", BigInteger, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("sessions_by_use", "updated_at", "id"),
    Index("sessions_by_age", "created_at", "id"),
)

messages: Final = Table(
    "messages",
    metadata,
    Column("session_id", String(LONGEST_ID), ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),  # JSON
    # Stores the messages of a session next to each other.
    sqlite_with_rowid=False,
)

leases: Final = Table(
    "leases",
    metadata,
    Column("session_id", String(LONGEST_ID), primary_key=True),
    Column("name", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("started", Float(53), nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("expires_at", Utc, nullable=False),
)

snapshots: Final = Table(
    "snapshots",
    metadata,
    Column("state_id", String(64), primary_key=True),
    Column("session_id", String(LONGEST_ID), nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("compression", String(16), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("models", Integer, nullable=False),
    Column("conversations", Integer, nullable=False),
    Column("configurations", Integer, nullable=False),
    Column("has_metrics", Boolean, nullable=False),
    Column("files", LargeBinary, nullable=False),  # JSON: the names of the prompt caches
    Column("content", LargeBinary, nullable=False),
    Index("snapshots_by_session", "session_id", "created_at"),
)

audit: Final = Table(
    "audit",
    metadata,
    # SQLite increments only its own integer type.
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("actor", Text, nullable=False),
    Column("face", String(16), nullable=False),
    Column("operation", Text, nullable=False),
    Column("arguments", LargeBinary, nullable=False),  # JSON
    Column("outcome", Text, nullable=False),
    Column("duration_ms", Float(53), nullable=False),
    Column("request_id", Text),
    Column("model", Text),
    Index("audit_by_time", "at", "id"),
)

responses: Final = Table(
    "responses",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("used_at", Utc, nullable=False),
    Column("status", String(16), nullable=False),
    Column("is_background", Boolean, nullable=False),
    Column("previous_id", String(64)),
    Column("conversation_id", String(64)),
    Column("conversation_position", BigInteger),  # where the response's own items begin in its conversation
    Column("input", LargeBinary, nullable=False),  # JSON: a list of items, without those of the predecessors
    Column("body", LargeBinary, nullable=False),  # JSON: the response object
    Column("size_bytes", BigInteger, nullable=False),
    # The process that makes the response; null once the response is over.
    Column("name", Text),
    Column("machine", Text),
    Column("pid", BigInteger),
    Column("started", Float(53)),
    Column("nonce", String(32)),
    Column("expires_at", Utc),
    Index("responses_by_use", "used_at", "id", "size_bytes"),
)

response_items: Final = Table(
    "response_items",
    metadata,
    Column("item_id", String(LONGEST_ID), primary_key=True),
    Column("response_id", String(64), ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    Index("response_items_by_response", "response_id"),
    sqlite_with_rowid=False,
)

response_events: Final = Table(
    "response_events",
    metadata,
    Column("response_id", String(64), ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence_number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),  # JSON
    sqlite_with_rowid=False,
)

conversations: Final = Table(
    "conversations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("used_at", Utc, nullable=False),
    Column("metadata", LargeBinary, nullable=False),  # JSON
    Column("next_position", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("conversations_by_use", "used_at", "id", "size_bytes"),
)

conversation_items: Final = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", String(64), ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("item_id", String(LONGEST_ID), nullable=False),
    Column("body", LargeBinary, nullable=False),  # JSON
    Index("conversation_items_by_id", "item_id", "conversation_id", unique=True),
    sqlite_with_rowid=False,
)

keys: Final = Table(
    "keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)

decisions: Final = Table(
    "decisions",
    metadata,
    Column("name", String(64), primary_key=True),  # a digest of owner and approval request
    Column("taken_at", Utc, nullable=False),
    sqlite_with_rowid=False,
)

alerts: Final = Table(
    "alerts",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("host", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("condition", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("value", Float(53), nullable=False),
    Column("started_at", Utc, nullable=False),
    Column("fired_at", Utc, nullable=False),
    Column("resolved_at", Utc),
    Index("alerts_by_time", "at", "id"),
)

metrics: Final = Table(
    "metrics",
    metadata,
    Column("source", String(128), primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("writer", String(16), primary_key=True),
    Column("content", LargeBinary, nullable=False),  # of modelhost.monitor.cells
)


def insert_for(connection: Connection, table: Table) -> Any:
    """Return an ``INSERT`` with support for ``ON CONFLICT``."""
    return postgresql.insert(table) if is_postgresql(connection) else sqlite.insert(table)


def clock(connection: Connection, later_seconds: float = 0.0) -> ColumnElement[datetime]:
    """Return the time plus ``later_seconds``, by one clock for all users of the database."""
    later = timedelta(seconds=later_seconds)
    if is_postgresql(connection):
        return func.clock_timestamp(type_=DateTime(timezone=True)) + literal(later, Interval())
    return literal(datetime.now(UTC) + later, Utc())


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
