"""Several processes on one database, and processes that are killed."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from modelhost.errors import SessionBusy
from modelhost.state import leases
from modelhost.state.leases import LEASE_SECONDS, is_gone, this_process
from tests.unit.state.conftest import MakeStore

WRITER = Path(__file__).parents[2] / "support" / "session_writer.py"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a process that writes sessions; it is killed with the test."""
    with ExitStack() as ends:

        def begin(*arguments: str) -> subprocess.Popen[str]:
            process = ends.enter_context(
                subprocess.Popen(
                    [sys.executable, str(WRITER), database_url, str(tmp_path), *arguments],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            ends.callback(process.kill)
            return process

        yield begin


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_two_processes_in_one_session_lose_nothing_and_mix_nothing(start: Start, make_store: MakeStore) -> None:
    writers = [start("turns", "s", name, "20") for name in ("a", "b")]
    assert [await asyncio.to_thread(writer.wait, 120) for writer in writers] == [0, 0]
    messages = (await make_store().sessions.get("s")).messages
    said = [message["content"] for message in messages]
    assert said[0::3] == said[1::3] == said[2::3]
    assert sorted(said[0::3]) == sorted(f"{name} {at}" for name in ("a", "b") for at in range(20))
    for name in ("a", "b"):
        assert [text for text in said[0::3] if text.startswith(name)] == [f"{name} {at}" for at in range(20)]


async def test_the_session_of_a_killed_process_is_taken_over_at_once(start: Start, make_store: MakeStore) -> None:
    store = make_store()
    await store.open()
    holder = start("hold", "s")
    assert await asyncio.to_thread(line, holder) == "held"
    with pytest.raises(SessionBusy, match=f"process {holder.pid}"):
        async with make_store(session_timeout=0.2).sessions.hold("s"):
            pass
    holder.kill()  # Nobody has waited for it yet: to its parent it is still there.
    # Before its lease is over, in which nobody could have taken the session from a living holder.
    async with asyncio.timeout(LEASE_SECONDS / 3), store.sessions.hold("s") as session:
        await session.append([{"role": "user", "content": "Hello"}])


async def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(
    start: Start, make_store: MakeStore
) -> None:
    await make_store().open()
    acknowledged: dict[str, int] = {}
    for _ in range(3):
        writer = start("many", "10")

        def read(writer: subprocess.Popen[str] = writer) -> list[str]:
            lines = [line(writer) for _ in range(40)]
            writer.kill()
            rest, _ = writer.communicate()
            return [*lines, *rest.splitlines()]

        for text in await asyncio.to_thread(read):
            name, number = text.split()
            acknowledged[name] = max(acknowledged.get(name, 0), int(number))
        store = make_store()
        for name, last in acknowledged.items():
            async with asyncio.timeout(10), store.sessions.hold(name) as session:
                stored = [int(message["content"]) for message in session.messages]
            assert stored == list(range(len(stored)))
            assert last < len(stored) <= last + 2
        await store.sessions.clear()
        acknowledged.clear()


async def test_a_host_that_was_thought_dead_stores_nothing_in_the_session(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = make_store(), make_store(session_timeout=10.0)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.3)
    async with asyncio.timeout(30):
        async with slow.sessions.hold("s") as lost:
            async with fast.sessions.hold("s") as session:
                await session.append([{"role": "user", "content": "mine"}])
            with pytest.raises(SessionBusy, match="taken over"):
                await lost.append([{"role": "user", "content": "late"}])
        assert [message["content"] for message in (await fast.sessions.get("s")).messages] == ["mine"]
        async with slow.sessions.hold("s") as again:
            await again.append([{"role": "user", "content": "again"}])
    assert (await fast.sessions.get("s")).message_count == 2


async def test_a_lease_is_renewed_while_the_session_is_held(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.1)
    holder, other = make_store(), make_store(session_timeout=1.5)
    async with asyncio.timeout(30), holder.sessions.hold("s") as session:
        with pytest.raises(SessionBusy, match="in use"):
            async with other.sessions.hold("s"):
                pass
        await session.append([{"role": "user", "content": "still mine"}])
    async with other.sessions.hold("s") as session:
        assert len(session.messages) == 1


def test_only_an_ended_process_of_this_machine_is_gone() -> None:
    here = this_process()
    assert not is_gone(here, here)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    gone = dataclasses.replace(here, pid=ended.pid)
    assert is_gone(gone, here)
    assert not is_gone(dataclasses.replace(gone, machine="another"), here)
    assert is_gone(dataclasses.replace(here, started=here.started - 100), here)
