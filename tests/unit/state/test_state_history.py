"""What a host writes by itself, in a SQLite file: with the whole database and without it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import DatabaseUnavailable
from modelhost.monitor.alerts.states import Alert, AlertState
from modelhost.monitor.history import HistoryRows, StoredFrame
from modelhost.state.history import plain_sqlite
from modelhost.state.sql.rows import Rows
from modelhost.state.store import StateStore
from tests.support.eventually import eventually
from tests.unit.state.conftest import MakeStore

FRAME = StoredFrame(step=1, start=1_900_000_000, source="a", writer="w", content=b"\0\xff")
LATER = replace(FRAME, start=5_000_000_000)  # beyond 32 bits
ALERT = Alert(
    rule="full",
    host="a",
    subject="ram",
    metric="memory_used_share",
    severity="warning",
    condition="memory_used_share > 0.9",
    summary="The memory is full.",
    state=AlertState.FIRING,
    value=0.95,
    started_at=1_900_000_000.0,
    fired_at=1_900_000_060.25,
)


def put(*frames: StoredFrame) -> Callable[[HistoryRows], None]:
    """Return the work that stores ``frames``."""
    return lambda rows: rows.put(frames)


def starts(rows: HistoryRows) -> list[tuple[int, bytes]]:
    return list(rows.frames(step=1, start=0, end=10_000_000_000, source="a"))


async def test_what_is_stored_is_read_the_same_whether_the_whole_database_is_open_or_not(
    make_store: MakeStore,
) -> None:
    alone, whole = make_store(), make_store()
    await whole.open()
    for one, other, frame in ((alone, whole, FRAME), (whole, alone, LATER)):
        await one.metrics.write(put(frame))
        await one.alerts.add([replace(ALERT, rule=f"at {frame.start}")])
        assert await one.metrics.read(starts) == await other.metrics.read(starts)
        assert await one.alerts.list(limit=10) == await other.alerts.list(limit=10)
    assert await alone.metrics.read(starts) == [(FRAME.start, FRAME.content), (LATER.start, LATER.content)]
    assert [alert.rule for alert in await alone.alerts.list(limit=10)] == [f"at {LATER.start}", f"at {FRAME.start}"]


async def test_a_failed_change_leaves_nothing(make_store: MakeStore) -> None:
    store = make_store()

    def failing(rows: HistoryRows) -> None:
        rows.put([FRAME])
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await store.metrics.write(failing)
    assert await store.metrics.read(starts) == []
    await store.metrics.write(put(FRAME))
    assert await store.metrics.read(starts) == [(FRAME.start, FRAME.content)]


async def test_a_cancelled_change_is_done_or_not_when_the_cancellation_is_over(make_store: MakeStore) -> None:
    store = make_store()
    await store.metrics.write(put())
    writing = asyncio.create_task(store.metrics.write(put(FRAME)))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    found = await store.metrics.read(starts)
    await asyncio.gather(store.metrics.write(put(LATER)), store.metrics.read(starts))
    assert await store.metrics.read(starts) == [*found, (LATER.start, LATER.content)]


async def test_the_file_can_be_used_again_after_it_was_closed(make_store: MakeStore) -> None:
    store = make_store()
    await store.metrics.write(put(FRAME))
    assert store.metrics.is_open
    await store.close()
    assert not store.metrics.is_open
    assert await store.metrics.read(starts) == [(FRAME.start, FRAME.content)]


@pytest.mark.parametrize("is_replaced", [True, False])
async def test_a_file_that_was_removed_or_replaced_is_noticed_without_the_whole_database(
    is_replaced: bool, tmp_path: Path
) -> None:
    store = StateStore(Settings(data_dir=str(tmp_path)))
    await store.metrics.write(put(FRAME))
    (tmp_path / "modelhost.db").rename(tmp_path / "moved")
    if is_replaced:
        (tmp_path / "modelhost.db").write_bytes(b"")
    for use in (store.metrics.write(put(LATER)), store.metrics.read(starts), store.alerts.list(limit=1)):
        with pytest.raises(DatabaseUnavailable, match="its file was removed or replaced while the host had it open"):
            await use
    await store.close()


async def test_the_whole_database_takes_no_locks_from_the_open_file(tmp_path: Path) -> None:
    store = StateStore(Settings(data_dir=str(tmp_path)))
    await store.metrics.write(put(FRAME))
    await store.open()
    await store.database.close()
    # The last one that closes a file removes its log; this process still has it open.
    reading = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM metrics').fetchall()"
    command = [sys.executable, "-c", reading, tmp_path / "modelhost.db"]
    await asyncio.to_thread(subprocess.run, command, check=True)
    assert (tmp_path / "modelhost.db-wal").exists()
    await store.close()


def history_threads() -> int:
    """Return how many files are open without the whole database: each has a thread."""
    return sum(thread.name.startswith("modelhost-history") for thread in threading.enumerate())


async def test_the_file_is_closed_once_the_whole_database_is_open_and_the_locks_of_that_stay(tmp_path: Path) -> None:
    store = StateStore(Settings(data_dir=str(tmp_path)))
    await store.metrics.write(put(FRAME))
    assert history_threads() == 1
    await store.open()
    is_writing, may_end = threading.Event(), threading.Event()

    def hold(rows: Rows) -> None:
        rows.statements.change("UPDATE metrics SET writer = :writer", [{"writer": "v"}])
        is_writing.set()
        may_end.wait(10)

    writing = asyncio.create_task(store.database.write(hold))
    await asyncio.to_thread(is_writing.wait, 10)
    assert await store.metrics.read(starts) == [(FRAME.start, FRAME.content)]
    await asyncio.to_thread(eventually, lambda: history_threads() == 0)
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    command = [sys.executable, "-c", script, tmp_path / "modelhost.db"]
    other = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, text=True)
    assert "database is locked" in other.stderr
    may_end.set()
    await writing
    await store.close()
    assert await store.metrics.read(starts) == [(FRAME.start, FRAME.content)]
    await store.close()


async def test_a_file_that_cannot_be_used_is_explained_and_used_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_sqlite, "BUSY_SECONDS", 0.2)
    path = tmp_path / "modelhost.db"
    path.write_text("A letter. " * 1000)
    store = StateStore(Settings(data_dir=str(tmp_path)))
    with pytest.raises(DatabaseUnavailable, match="it is no SQLite database, or damaged"):
        await store.metrics.write(put(FRAME))
    assert path.read_text() == "A letter. " * 1000
    path.unlink()
    await store.metrics.write(put(FRAME))
    assert path.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="another process has it locked"):
            await store.metrics.write(put(LATER))
        assert await store.metrics.read(starts) == [(FRAME.start, FRAME.content)]
    await store.metrics.write(put(LATER))
    await store.close()
