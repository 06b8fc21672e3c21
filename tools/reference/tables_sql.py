"""The tables of the database as statements in SQL, for each kind of database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import (
    ClauseElement,
    Column,
    Dialect,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    literal_column,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.schema import CreateIndex, CreateTable

from modelhost.state.schema import BETWEEN, HEAD
from modelhost.state.sql.tables import metadata

VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As alembic makes it: https://alembic.sqlalchemy.org/en/latest/tutorial.html."""


def tables_sql() -> Mapping[str, str]:
    """Return the statements for a new database, by the dialect."""
    return {dialect.name: f"{BETWEEN.join(_statements(dialect))};\n" for dialect in (SQLiteDialect(), PGDialect())}


def _statements(dialect: Dialect) -> Iterator[str]:
    for table in (VERSION, *metadata.sorted_tables):
        yield _text(CreateTable(table), dialect)
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield _text(CreateIndex(index), dialect)
    yield _text(insert(VERSION).inline().values(version_num=literal_column(f"'{HEAD}'")), dialect)


def _text(statement: ClauseElement, dialect: Dialect) -> str:
    return "\n".join(
        line.rstrip() for line in str(statement.compile(dialect=dialect)).strip().splitlines() if line.strip()
    )
