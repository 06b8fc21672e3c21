"""An index of sessions by their age: the oldest go first.

Revision ID: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("sessions_by_age", "sessions", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("sessions_by_age", "sessions")
