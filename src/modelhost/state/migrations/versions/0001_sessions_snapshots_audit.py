"""Sessions with their messages and leases, saved states, the audit log.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(256), primary_key=True),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("updated_at", AT, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("system", sa.LargeBinary, nullable=False),
        sa.Column("next_position", sa.BigInteger, nullable=False),
        sa.Column("message_count", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("sessions_by_use", "sessions", ["updated_at", "id"])
    op.create_table(
        "messages",
        sa.Column("session_id", sa.String(256), sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("session_id", sa.String(256), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("started", sa.Float(53), nullable=False),
        sa.Column("nonce", sa.String(32), nullable=False),
        sa.Column("expires_at", AT, nullable=False),
    )
    op.create_table(
        "snapshots",
        sa.Column("state_id", sa.String(64), primary_key=True),
        sa.Column("session_id", sa.String(256), nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("compression", sa.String(16), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("models", sa.Integer, nullable=False),
        sa.Column("conversations", sa.Integer, nullable=False),
        sa.Column("configurations", sa.Integer, nullable=False),
        sa.Column("has_metrics", sa.Boolean, nullable=False),
        sa.Column("files", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("snapshots_by_session", "snapshots", ["session_id", "created_at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", AT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("face", sa.String(16), nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("arguments", sa.LargeBinary, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("duration_ms", sa.Float(53), nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("model", sa.Text),
    )
    op.create_index("audit_by_time", "audit", ["at", "id"])


def downgrade() -> None:
    for table in ("audit", "snapshots", "leases", "messages", "sessions"):
        op.drop_table(table)
