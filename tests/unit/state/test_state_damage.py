"""A database that somebody has changed from outside damages no more than what they have changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import DatabaseUnavailable, StateDamaged
from modelhost.state.store import StateStore

MESSAGES = [{"role": "user", "content": "Hello!"}]


async def test_a_message_that_is_no_json_is_damage_of_its_session_alone(tmp_path: Path) -> None:
    store = StateStore(Settings(data_dir=str(tmp_path)))
    for name in ("broken", "sound"):
        async with store.sessions.hold(name) as session:
            await session.append(MESSAGES)
    await store.close()
    with closing(sqlite3.connect(tmp_path / "modelhost.db")) as database, database:
        database.execute("UPDATE messages SET body = 'no json' WHERE session_id = 'broken'")
    store = StateStore(Settings(data_dir=str(tmp_path)))
    with pytest.raises(StateDamaged, match='"broken" holds a message that is not JSON'):
        await store.sessions.get("broken")
    with pytest.raises(StateDamaged):
        async with store.sessions.hold("broken"):
            pytest.fail("a damaged session cannot be continued")
    assert (await store.sessions.get("sound")).message_count == 1
    assert (await store.sessions.delete("broken")).items == 1
    await store.close()


@pytest.mark.parametrize("is_replaced", [True, False])
async def test_a_file_that_was_removed_or_replaced_while_it_is_open_is_noticed(
    is_replaced: bool, tmp_path: Path
) -> None:
    store = StateStore(Settings(data_dir=str(tmp_path)))
    await store.check()
    _move(tmp_path, "modelhost.db", "moved")
    if is_replaced:
        (tmp_path / "modelhost.db").write_bytes(b"")
    with pytest.raises(DatabaseUnavailable, match="its file was removed or replaced while the host had it open"):
        await store.check()
    with pytest.raises(DatabaseUnavailable):
        await store.metrics.write(lambda rows: rows.put([]))
    with pytest.raises(DatabaseUnavailable):
        await store.metrics.read(lambda rows: rows.sources())
    _move(tmp_path, "moved", "modelhost.db")
    await store.check()
    await store.close()


def _move(folder: Path, name: str, other: str) -> None:
    """Move the files of a database, also those that SQLite has beside it."""
    for file in folder.glob(f"{name}*"):
        file.rename(folder / file.name.replace(name, other))
