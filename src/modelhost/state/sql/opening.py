"""Opens a database and migrates its tables to this version."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from modelhost import lazy
from modelhost.config.databases import Place, SqliteFile
from modelhost.errors import DatabaseUnavailable
from modelhost.state.sql.database import Database, explained
from modelhost.state.sql.sqlite import SqliteDatabase

HEAD: Final = "0006"
"""The newest migration. Migrations are numbered, so that one of a newer version is known by its number."""


async def open_database(place: Place) -> Database:
    """Return the database at ``place``; either all missing migrations are applied, or none.

    Raises:
        DatabaseUnavailable: it cannot be opened or migrated, or a newer version created its tables.
    """
    with explained(place):
        database = await _unopened(place)
        try:
            if await database.read(lambda rows: _version(place, rows.connection)) != HEAD:
                await asyncio.to_thread(lazy.preload, "alembic_runs")
                await database.migrate(partial(_migrate, place))
        except BaseException:
            await database.close()
            raise
    return database


async def _unopened(place: Place) -> Database:
    if isinstance(place, SqliteFile):
        return SqliteDatabase(place)
    await asyncio.to_thread(lazy.preload, "postgresql")
    return lazy.postgresql.PostgresDatabase(place)


def _migrate(place: Place, connection: Connection) -> None:
    # Another host, perhaps of a newer version, may have been faster.
    if _version(place, connection) != HEAD:
        lazy.alembic_runs.upgrade(connection)


def _version(place: Place, connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if version is not None and version > HEAD:
        raise DatabaseUnavailable(
            f"The database {place} was made by a newer version of modelhost (schema {version}; this one knows {HEAD}). "
            "Use that version, or another database with --database-url.",
            database=str(place),
        )
    return version
