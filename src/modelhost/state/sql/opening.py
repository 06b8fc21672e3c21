"""Opens a database, and creates its tables or migrates them to this version."""

from __future__ import annotations

import asyncio
from functools import partial

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from modelhost import lazy
from modelhost.config.databases import Place, SqliteFile
from modelhost.state import schema
from modelhost.state.schema import HEAD
from modelhost.state.sql.database import Database, explained
from modelhost.state.sql.sqlite import SqliteDatabase


async def open_database(place: Place) -> Database:
    """Return the database at ``place``, which has all tables if it is new.

    To one of an older version either all missing migrations are applied, or none.

    Raises:
        DatabaseUnavailable: it cannot be opened or migrated, or a newer version created its tables.
    """
    with explained(place):
        database = await _unopened(place)
        try:
            if await database.read(lambda rows: _version(place, rows.connection)) != HEAD:
                if await database.read(lambda rows: _has_version(rows.connection)):
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
    if _version(place, connection) == HEAD:
        return
    if _has_version(connection):
        lazy.alembic_runs.upgrade(connection)
        return
    for statement in schema.statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def _version(place: Place, connection: Connection) -> str | None:
    """Return the number of the newest applied migration."""
    if not _has_version(connection):
        return None
    version: str | None = connection.execute(text(schema.VERSION)).scalar_one_or_none()
    schema.check_version(place, version)
    return version


def _has_version(connection: Connection) -> bool:
    """Whether the database was used before, if only for an older version."""
    return inspect(connection).has_table("alembic_version")
