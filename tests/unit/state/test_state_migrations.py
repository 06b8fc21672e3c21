"""The tables: made at once or by migrations, in both directions, on both databases."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ProgrammingError

from modelhost.config.databases import parse_database_url
from modelhost.errors import DatabaseUnavailable
from modelhost.monitor.history import HistoryRows
from modelhost.state import schema
from modelhost.state.schema import HEAD
from modelhost.state.sql import alembic_runs
from modelhost.state.sql.database import Database
from modelhost.state.sql.opening import open_database
from modelhost.state.sql.tables import metadata
from tests.unit.state.conftest import MakeStore

TABLES = {
    "sessions",
    "messages",
    "leases",
    "snapshots",
    "audit",
    "responses",
    "response_items",
    "response_events",
    "conversations",
    "conversation_items",
    "keys",
    "decisions",
    "alerts",
    "metrics",
}
CATALOGUE = (
    """SELECT relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
    pg_get_expr(adbin, adrelid) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = current_schema()::regnamespace ORDER BY relname, attnum""",
    """SELECT relname, conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid
    WHERE relnamespace = current_schema()::regnamespace ORDER BY relname, conname""",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY indexname",
)
VERSION = text("SELECT version_num FROM alembic_version")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await open_database(parse_database_url(database_url))
    yield opened
    await opened.close()


def history_sources(rows: HistoryRows) -> Sequence[str]:
    return rows.sources()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def differences(connection: Connection) -> Any:
    """What alembic would change; it names foreign keys that have no name after the tables."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return compare_metadata(context, metadata)


def definitions(connection: Connection) -> list[tuple[Any, ...]]:
    """All that the database itself knows of its tables: columns, types, defaults, constraints and indexes."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"))
        return [(*row[:3], None if row.sql is None else row.sql.split()) for row in found]
    return [tuple(row) for query in CATALOGUE for row in connection.execute(text(query))]


def dropped(connection: Connection) -> None:
    alembic_runs.downgrade(connection, "base")
    connection.execute(text("DROP TABLE alembic_version"))


async def test_a_new_database_has_the_tables_of_the_code(database: Database) -> None:
    assert await database.migrate(tables) == {*TABLES, "alembic_version"}
    assert await database.migrate(differences) == []


async def test_a_new_database_is_what_the_migrations_make(database: Database) -> None:
    created = await database.migrate(definitions)
    await database.migrate(dropped)
    emptied = await database.migrate(definitions)
    await database.migrate(alembic_runs.upgrade)
    assert await database.migrate(definitions) == created
    assert len(created) >= len(emptied) + len(TABLES)
    assert await database.read(lambda rows: rows.connection.execute(VERSION).scalar_one()) == HEAD


async def test_every_migration_can_be_undone_and_done_again(database: Database) -> None:
    def base(connection: Connection) -> None:
        alembic_runs.downgrade(connection, "base")

    await database.migrate(base)
    assert await database.migrate(tables) == {"alembic_version"}
    for revision in reversed(list(ScriptDirectory.from_config(alembic_runs.config()).walk_revisions())):
        for run in (alembic_runs.upgrade, alembic_runs.downgrade, alembic_runs.upgrade):
            target = revision.revision if run is alembic_runs.upgrade else revision.down_revision or "base"
            await database.migrate(lambda connection, run=run, target=target: run(connection, target))
    assert await database.migrate(differences) == []


def test_the_newest_migration_is_the_one_that_the_code_wants() -> None:
    directory = ScriptDirectory.from_config(alembic_runs.config())
    numbers = [revision.revision for revision in reversed(list(directory.walk_revisions()))]
    assert directory.get_heads() == [HEAD]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


async def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(
    database: Database, make_store: MakeStore
) -> None:
    newer = text("UPDATE alembic_version SET version_num = '9999'")
    await database.write(lambda rows: rows.connection.execute(newer) and None)
    with pytest.raises(DatabaseUnavailable, match=r"newer version of modelhost \(schema 9999") as refused:
        await make_store().open()
    assert "--database-url" in refused.value.message
    with pytest.raises(DatabaseUnavailable, match=r"newer version of modelhost \(schema 9999"):
        await make_store().metrics.read(lambda rows: rows.sources())
    assert await database.read(lambda rows: rows.connection.execute(VERSION).scalar_one()) == "9999"


async def test_many_that_open_a_new_database_at_once_all_get_it(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(6)]
    async with asyncio.timeout(60):
        uses = [use for store in stores for use in (store.open(), store.metrics.read(history_sources), store.open())]
        await asyncio.gather(*uses)
        assert [await store.sessions.count() for store in stores] == [0] * 6


def test_processes_that_open_a_new_database_at_once_all_get_it(database_url: str, tmp_path: Path) -> None:
    writer = Path(__file__).parents[2] / "support" / "session_writer.py"
    command = [sys.executable, str(writer), database_url, str(tmp_path), "turns"]
    processes = [subprocess.Popen([*command, f"s{number}", "x", "1"]) for number in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4


async def test_tables_that_cannot_all_be_created_leave_nothing(
    database_url: str, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = schema.statements
    monkeypatch.setattr(schema, "statements", lambda dialect: [*statements(dialect)[:-1], "INSERT INTO nowhere"])
    store = make_store()
    for use in (store.sessions.count, lambda: store.metrics.read(history_sources)):
        with pytest.raises((DatabaseUnavailable, ProgrammingError)):
            await use()
    monkeypatch.undo()
    assert await store.metrics.read(history_sources) == []
    assert await store.sessions.count() == 0


async def test_a_failing_migration_leaves_the_older_version(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.migrate(lambda connection: alembic_runs.downgrade(connection, "0004"))
    upgrade = alembic_runs.upgrade

    def failing(connection: Connection) -> None:
        upgrade(connection)
        raise OSError("the power went")

    monkeypatch.setattr(alembic_runs, "upgrade", failing)
    store = make_store()
    for use in (store.open, lambda: store.metrics.read(history_sources)):
        with pytest.raises(DatabaseUnavailable, match="the power went"):
            await use()
        assert await database.read(lambda rows: rows.connection.execute(VERSION).scalar_one()) == "0004"
    monkeypatch.undo()
    assert await store.metrics.read(history_sources) == []
    assert await database.read(lambda rows: rows.connection.execute(VERSION).scalar_one()) == HEAD


def imported(url: str, use: str) -> str:
    """Return which libraries a process has imported after ``use`` of a store."""
    code = (
        "import asyncio, sys\n"
        "from modelhost.config.settings import Settings\n"
        "from modelhost.state.store import StateStore\n"
        "async def main():\n"
        f"    store = StateStore(Settings(database_url={url!r}))\n"
        f"    await store.{use}\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
        "print(*sorted({'alembic', 'sqlalchemy', 'asyncpg'} & sys.modules.keys()))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


async def test_alembic_is_imported_only_for_tables_of_an_older_version(database_url: str) -> None:
    others = "asyncpg sqlalchemy" if database_url.startswith("postgresql") else "sqlalchemy"
    assert [imported(database_url, "sessions.count()") for _ in range(2)] == [others] * 2
    database = await open_database(parse_database_url(database_url))
    await database.migrate(lambda connection: alembic_runs.downgrade(connection, "0005"))
    await database.close()
    assert imported(database_url, "sessions.count()") == f"alembic {others}"


@pytest.mark.parametrize("use", ["metrics.write(lambda rows: rows.put([]))", "alerts.list(limit=1)"])
async def test_the_history_in_a_file_needs_no_library_unless_its_tables_are_older(use: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    assert [imported(url, use) for _ in range(2)] == ["", ""]
    database = await open_database(parse_database_url(url))
    await database.migrate(lambda connection: alembic_runs.downgrade(connection, "0003"))
    await database.close()
    assert [imported(url, use) for _ in range(2)] == ["alembic sqlalchemy", ""]
