"""The audit log, on both databases."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sized
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelhost.config.settings import Settings
from modelhost.errors import DatabaseUnavailable
from modelhost.meters import REGISTRY
from modelhost.state import audit
from modelhost.state.records import AuditEntry
from modelhost.state.store import StateStore
from tests.support.eventually import eventually, eventually_async
from tests.unit.state.conftest import MakeStore

NOW = datetime.now(UTC)


def entry(number: int = 0, **more: Any) -> AuditEntry:
    given: Mapping[str, Any] = {
        "at": NOW + timedelta(milliseconds=number),
        "actor": "alice",
        "face": "http",
        "operation": "load-model",
        "arguments": {"model_id": "nano", "slots": 2},
        "outcome": "ok",
        "duration_ms": 1.5,
    }
    return AuditEntry(**{**given, **more})


async def until(read: Callable[[], Awaitable[Sized]], count: int) -> None:
    """Wait until so many are read."""
    async with asyncio.timeout(10):
        while len(await read()) != count:
            pass


def lost() -> float:
    return REGISTRY.get_sample_value("modelhost_audit_entries_lost_total") or 0.0


async def test_what_was_noted_is_read_the_newest_first(store: StateStore) -> None:
    full = entry(1, actor="bob", face="mcp-stdio", outcome="model_not_found", request_id="r", model="nano")
    store.audit.note(entry(0))
    store.audit.note(full)
    assert await store.audit.entries() == (full, entry(0))
    assert await store.audit.entries(limit=1) == (full,)
    assert await store.audit.entries(before=full.at) == (entry(0),)
    assert await store.audit.entries(actor="bob") == (full,)
    assert await store.audit.entries(outcome="ok") == (entry(0),)
    assert await store.audit.entries(operation="save-state") == ()


async def test_entries_of_the_same_moment_come_newest_first(store: StateStore) -> None:
    for number in range(3):
        store.audit.note(entry(0, operation=f"o{number}"))
    assert [found.operation for found in await store.audit.entries()] == ["o2", "o1", "o0"]


async def test_entries_are_there_after_a_restart_although_nobody_waited(make_store: MakeStore) -> None:
    first = make_store()
    for number in range(1200):
        first.audit.note(entry(number))
    await first.close()
    found = await make_store().audit.entries(limit=2000)
    assert [found.at for found in found] == [entry(number).at for number in reversed(range(1200))]


async def test_nobody_has_to_ask_for_what_is_noted_to_be_written(make_store: MakeStore) -> None:
    make_store().audit.note(entry())
    reader = make_store()
    await until(reader.audit.entries, 1)


async def test_what_a_database_takes_for_no_text_does_not_lose_the_others(store: StateStore) -> None:
    store.audit.note(entry(0, actor="a\0b\ud800", arguments={"x": "\0", "y": {1}, 2: Path("z")}))
    store.audit.note(entry(1))
    second, first = await store.audit.entries()
    assert second == entry(1)
    assert (first.actor, first.arguments) == ("ab?", {"x": "\0", "y": "{1}", "2": "z"})


async def test_arguments_that_json_has_no_place_for_do_not_hold_up_the_others(store: StateStore) -> None:
    given = [
        {"seed": 2**70, "size": [-(2**64)]},
        {"size": "\ud800", "\ud800": 1},
        {"size": nested(300)},
        {"size": nested(220)},
        {"size": "64x64"},
    ]
    for number, arguments in enumerate(given):
        store.audit.note(entry(number, arguments=arguments))
    found = [each.arguments for each in reversed(await store.audit.entries())]
    assert found == [given[0], {"size": "str", "?": "int"}, {"size": "list"}, *given[3:]]


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


async def test_a_reader_that_leaves_makes_nothing_be_written_twice(store: StateStore) -> None:
    await store.open()
    for number in range(30):
        store.audit.note(entry(number))
        reader = asyncio.create_task(store.audit.entries())
        for _ in range(number):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    assert len(await store.audit.entries()) == 30


async def test_old_entries_are_forgotten_when_the_store_is_opened(make_store: MakeStore) -> None:
    first = make_store(audit_retention_days=30)
    first.audit.note(entry(0, at=NOW - timedelta(days=31)))
    first.audit.note(entry(0, at=NOW - timedelta(days=29)))
    await first.close()
    second = make_store(audit_retention_days=30)
    await second.open()
    await until(second.audit.entries, 1)


async def test_while_the_database_is_broken_entries_wait_and_are_counted_when_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_WAITING", 5)
    monkeypatch.setattr(audit, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(audit, "LONGEST_PAUSE_SECONDS", 0.02)
    broken = tmp_path / "data"
    broken.write_text("a file, not a directory")
    store = StateStore(Settings(data_dir=str(broken)))
    get, attempts = store.database.get, []

    async def counted() -> object:
        attempts.append(1)
        return await get()

    monkeypatch.setattr(store.database, "get", counted)
    before = lost()
    with capture_logs() as logs:
        for number in range(8):
            store.audit.note(entry(number))
        with pytest.raises(DatabaseUnavailable):
            await store.audit.flush()
        await eventually_async(lambda: len(attempts) >= 5)
        assert lost() - before == 3
        assert [log["event"] for log in logs] == ["audit_log_waits"]
        broken.unlink()
        await asyncio.to_thread(eventually, lambda: "audit_log_written_again" in [log["event"] for log in logs])
    assert [found.at for found in await store.audit.entries()] == [entry(number).at for number in reversed(range(5))]
    await store.close()


async def test_what_cannot_be_written_at_the_end_is_counted(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a directory")
    store = StateStore(Settings(data_dir=str(tmp_path / "data")))
    before = lost()
    store.audit.note(entry())
    with capture_logs() as logs:
        await store.close()
    assert lost() - before == 1
    assert logs[-1]["event"] == "audit_entries_lost"


def test_a_host_that_keeps_nothing_imports_no_database() -> None:
    code = (
        "import sys; from modelhost.host import Host; from modelhost.config.settings import Settings;"
        "Host(Settings()).state;"
        "print([name for name in ('sqlalchemy', 'alembic', 'asyncpg', 'zstandard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
