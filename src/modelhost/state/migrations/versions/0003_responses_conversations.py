"""Responses with their items and events, conversations, keys.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _responses()
    _conversations()
    op.create_table(
        "keys",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
    )


def _responses() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("used_at", AT, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("is_background", sa.Boolean, nullable=False),
        sa.Column("previous_id", sa.String(64)),
        sa.Column("conversation_id", sa.String(64)),
        sa.Column("conversation_position", sa.BigInteger),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("machine", sa.Text),
        sa.Column("pid", sa.BigInteger),
        sa.Column("started", sa.Float(53)),
        sa.Column("nonce", sa.String(32)),
        sa.Column("expires_at", AT),
    )
    op.create_index("responses_by_use", "responses", ["used_at", "id", "size_bytes"])
    op.create_table(
        "response_items",
        sa.Column("item_id", sa.String(256), primary_key=True),
        sa.Column("response_id", sa.String(64), sa.ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("response_items_by_response", "response_items", ["response_id"])
    op.create_table(
        "response_events",
        sa.Column("response_id", sa.String(64), sa.ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sequence_number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("used_at", AT, nullable=False),
        sa.Column("metadata", sa.LargeBinary, nullable=False),
        sa.Column("next_position", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
    op.create_index("conversations_by_use", "conversations", ["used_at", "id", "size_bytes"])
    of_conversation = sa.ForeignKey("conversations.id", ondelete="CASCADE")
    op.create_table(
        "conversation_items",
        sa.Column("conversation_id", sa.String(64), of_conversation, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("item_id", sa.String(256), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("conversation_items_by_id", "conversation_items", ["item_id", "conversation_id"], unique=True)


def downgrade() -> None:
    for table in ("keys", "conversation_items", "conversations", "response_events", "response_items", "responses"):
        op.drop_table(table)
