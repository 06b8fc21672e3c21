"""Running the migrations, with alembic."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from modelhost.state.sql.opening import HEAD

SCRIPTS: Final = Path(__file__).parents[1] / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Return alembic's configuration; ``connection`` is where it is to work."""
    made = Config()
    # In alembic's file format, which this passes through, a percent sign is special.
    made.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Apply what is missing up to ``revision``, in the transaction of ``connection``."""
    command.upgrade(config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undo what came after ``revision`` (``base``: everything), in the transaction of ``connection``."""
    command.downgrade(config(connection), revision)
