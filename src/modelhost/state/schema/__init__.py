"""The statements that create the tables of a new database, as the migrations would, without SQLAlchemy and alembic.

``make docs`` writes the files from :mod:`modelhost.state.sql.tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from modelhost.config.databases import Place
from modelhost.errors import DatabaseUnavailable

HEAD: Final = "0006"
"""The newest migration. Migrations are numbered, so that one of a newer version is known by its number."""
VERSION: Final = "SELECT version_num FROM alembic_version"
BETWEEN: Final = ";\n\n"


def statements(dialect: str) -> Sequence[str]:
    """Return the statements for a new database of ``dialect``, ``sqlite`` or ``postgresql``, with its version."""
    return files(__name__).joinpath(f"{dialect}.sql").read_text("utf-8").strip().removesuffix(";").split(BETWEEN)


def check_version(place: Place, version: str | None) -> None:
    """Raise :class:`DatabaseUnavailable` if ``version``, the newest migration of a database, is newer than ours."""
    if version is not None and version > HEAD:
        raise DatabaseUnavailable(
            f"The database {place} was made by a newer version of modelhost (schema {version}; this one knows {HEAD}). "
            "Use that version, or another database with --database-url.",
            database=str(place),
        )
