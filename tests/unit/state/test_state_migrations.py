"""The tables: made by migrations, in both directions, on both databases."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from modelhost.config.databases import parse_database_url
from modelhost.errors import DatabaseUnavailable
from modelhost.state.sql import alembic_runs
from modelhost.state.sql.database import Database
from modelhost.state.sql.opening import HEAD, open_database
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


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await open_database(parse_database_url(database_url))
    yield opened
    await opened.close()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def differences(connection: Connection) -> Any:
    """What alembic would change; it names foreign keys that have no name after the tables."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return compare_metadata(context, metadata)


async def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    assert await database.migrate(tables) == {*TABLES, "alembic_version"}
    assert await database.migrate(differences) == []


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
    version = text("SELECT version_num FROM alembic_version")
    assert await database.read(lambda rows: rows.connection.execute(version).scalar_one()) == "9999"


async def test_many_that_open_a_new_database_at_once_all_get_it(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(6)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(store.open() for store in stores for _ in range(2)))
        assert [await store.sessions.count() for store in stores] == [0] * 6


def test_processes_that_open_a_new_database_at_once_all_get_it(database_url: str, tmp_path: Path) -> None:
    writer = Path(__file__).parents[2] / "support" / "session_writer.py"
    command = [sys.executable, str(writer), database_url, str(tmp_path), "turns"]
    processes = [subprocess.Popen([*command, f"s{number}", "x", "1"]) for number in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4


async def test_a_failing_migration_leaves_nothing(
    database_url: str, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = alembic_runs.upgrade

    def failing(connection: Connection) -> None:
        upgrade(connection)
        raise OSError("the power went")

    monkeypatch.setattr(alembic_runs, "upgrade", failing)
    store = make_store()
    with pytest.raises(DatabaseUnavailable, match="the power went"):
        await store.open()
    monkeypatch.undo()
    await store.open()
    assert await store.sessions.count() == 0


def test_alembic_is_imported_only_for_what_is_to_be_changed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from modelhost.config.databases import parse_database_url;"
        "from modelhost.state.sql.opening import open_database;"
        f"asyncio.run(open_database(parse_database_url('sqlite:///{tmp_path}/m.db')));"
        "print('alembic' in sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert runs == ["True", "False"]
