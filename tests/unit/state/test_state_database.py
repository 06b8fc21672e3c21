"""Databases that do not work: what is said, and that all goes on when the trouble is over."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import asyncpg
import pytest

from modelhost.config.settings import Settings
from modelhost.errors import DatabaseUnavailable
from modelhost.state.history import plain_sqlite
from modelhost.state.store import StateStore
from tests.support.postgres import PostgresServer

Make = Callable[[str], StateStore]
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes stores at an address; they are closed with the test."""
    async with AsyncExitStack() as stores:

        def make(url: str) -> StateStore:
            settings = {"database_url": url, "data_dir": str(tmp_path), "max_session_messages": 10_000}
            store = StateStore(Settings.model_validate(settings))
            stores.push_async_callback(store.close)
            return store

        yield make


async def append(store: StateStore, content: str = "Hello") -> None:
    async with store.sessions.hold("s") as session:
        await session.append([{"role": "user", "content": content}])


async def refusal(store: StateStore) -> str:
    with pytest.raises(DatabaseUnavailable) as refused:
        await append(store)
    return refused.value.message


async def test_a_directory_that_is_a_file_is_named_with_the_way_out(at: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = at(f"sqlite:///{tmp_path}/file/modelhost.db")
    said = await refusal(store)
    assert f"{tmp_path}/file/modelhost.db" in said
    assert "--data-dir or --database-url" in said
    (tmp_path / "file").unlink()
    await append(store)


async def test_a_directory_in_the_place_of_the_file_is_named(at: Make, tmp_path: Path) -> None:
    said = await refusal(at(f"sqlite:///{tmp_path}"))
    assert str(tmp_path) in said


async def test_a_read_only_file_can_be_read_and_says_why_it_is_not_written(at: Make, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/modelhost.db"
    await append(at(url))
    store = at(f"{url}?mode=ro")
    assert (await store.sessions.get("s")).message_count == 1
    assert f"{tmp_path}/modelhost.db does not work: it is read-only. Make the file" in await refusal(store)
    assert await store.audit.entries() == ()


async def test_a_full_disk_is_said_and_nothing_is_half_stored(at: Make, tmp_path: Path) -> None:
    store = at(f"sqlite:///{tmp_path}/modelhost.db")
    await append(store)
    database = await store.database.get()

    async def allow(pages: int) -> None:
        await database.write(lambda rows: rows.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}") and None)

    await allow(1)  # At least as many as there are.
    with pytest.raises(DatabaseUnavailable, match="the disk is full"):
        await append(store, "x" * 1_000_000)
    assert (await store.sessions.get("s")).message_count == 1
    await allow(1_000_000)
    await append(store, "x" * 1_000_000)
    assert (await store.sessions.get("s")).message_count == 2


async def test_what_is_no_database_is_left_as_it_is(at: Make, tmp_path: Path) -> None:
    path = tmp_path / "modelhost.db"
    path.write_text("A letter. " * 1000)
    store = at(f"sqlite:///{path}")
    assert f"{path} does not work: it is no SQLite database, or damaged. Put a backup there" in await refusal(store)
    assert path.read_text() == "A letter. " * 1000
    path.rename(tmp_path / "letter")
    await append(store)


async def test_a_damaged_database_is_said(at: Make, tmp_path: Path) -> None:
    path = tmp_path / "modelhost.db"
    first = at(f"sqlite:///{path}")
    for _ in range(50):
        await append(first, "x" * 1000)
    await first.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    store = at(f"sqlite:///{path}")
    assert "it is damaged" in await refusal(store)
    path.write_bytes(whole)
    await append(store)


async def test_a_file_that_somebody_keeps_locked_is_said(
    at: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_sqlite, "BUSY_SECONDS", 0.2)
    store = at(f"sqlite:///{tmp_path}/modelhost.db")
    await append(store)
    with closing(sqlite3.connect(tmp_path / "modelhost.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "another process has it locked" in await refusal(store)
        assert (await store.sessions.get("s")).message_count == 1
    await append(store)


async def test_a_new_file_is_for_its_owner_alone(at: Make, tmp_path: Path) -> None:
    store = at(f"sqlite:///{tmp_path}/new/place/modelhost.db")
    await append(store)
    files = list((tmp_path / "new" / "place").iterdir())
    assert {file.name for file in files} == {"modelhost.db", "modelhost.db-wal", "modelhost.db-shm"}
    assert {file.stat().st_mode & 0o077 for file in (tmp_path / "new" / "place", *files)} == {0}


async def test_a_path_with_odd_characters_is_a_path(at: Make, tmp_path: Path) -> None:
    await append(at(f"sqlite:///{tmp_path}/a b%3F%25#.db".replace("#", "%23")))
    assert (tmp_path / "a b?%#.db").exists()


async def test_a_server_that_is_not_there_is_said_without_the_password(at: Make) -> None:
    said = await refusal(at("postgresql://me:geheim@127.0.0.1:1/db?application_name=geheim"))
    assert "postgresql://me@127.0.0.1:1/db" in said
    assert "check that the server runs" in said
    assert "geheim" not in said


async def test_a_database_that_is_not_there_is_said(at: Make, postgres: PostgresServer) -> None:
    url = postgres.new_database().rpartition("/")[0]
    assert 'database "nowhere" does not exist' in await refusal(at(f"{url}/nowhere"))


async def test_connections_that_the_server_ended_are_made_anew(at: Make, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    store = at(url)
    await asyncio.gather(*(append(store) for _ in range(3)))
    admin = await asyncpg.connect(url)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    await admin.close()
    await append(store)
    assert (await store.sessions.get("s")).message_count == 4


async def test_a_read_only_server_is_said(at: Make, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    name = url.rpartition("/")[2]
    await append(at(url))
    admin = await asyncpg.connect(url)
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await admin.close()
    store = at(url)
    assert (await store.sessions.get("s")).message_count == 1
    assert "it is read-only. Name its primary server" in await refusal(store)
