"""Alembic's entry point: migrations run in the transaction of the given connection."""

from __future__ import annotations

from alembic import context

from modelhost.state.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
