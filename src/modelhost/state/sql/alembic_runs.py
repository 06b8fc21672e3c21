"""Runs the migrations with alembic."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from modelhost.state.schema import HEAD

SCRIPTS: Final = Path(__file__).parents[1] / "migrations"


def config(connection: Connection | None = None) -> Config:
    made = Config()
    # Percent signs are special in alembic's configuration.
    made.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Apply the missing migrations up to ``revision``, in the transaction of ``connection``."""
    command.upgrade(config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undo the migrations after ``revision`` (``base``: all), in the transaction of ``connection``."""
    command.downgrade(config(connection), revision)
