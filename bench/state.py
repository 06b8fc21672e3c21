"""What keeping sessions costs: adding to one and reading it in a small and in a large database, saving and loading all.

The sessions have as many messages as a host keeps by default, so that every addition cuts some off. Each addition and
each saved state is on the disk when it counts as done.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelhost.config.settings import Settings
from modelhost.state.documents import SavedConversation, SnapshotDocument
from modelhost.state.records import Message, Session
from modelhost.state.store import StateStore
from tests.support.postgres import binaries, postgres_server

SMALL = 10_000
LARGE = 1_000_000
MESSAGES = 50  # of a session
CONVERSATIONS = 1_000  # of a saved state
BATCH = 500
WARM_UP = 5
TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind. " * 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCost:
    """How long one thing took, every time."""

    database: str
    what: str
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured."""

    sizes: tuple[int, ...]
    turns: int
    states: int


def extent_of(*, quick: bool) -> Extent:
    """Return what is measured in a short run, and in a whole one."""
    return Extent(sizes=(SMALL,), turns=50, states=3) if quick else Extent(sizes=(SMALL, LARGE), turns=300, states=10)


def measure_state(extent: Extent) -> Iterator[StateCost]:
    """Measure on SQLite, and on PostgreSQL if its programs are here."""
    for database in ("SQLite", *(["PostgreSQL"] if binaries() else [])):
        for size in extent.sizes:
            with _address(database) as url:
                yield from asyncio.run(_sessions(database, url, size, extent.turns))
        with _address(database) as url:
            yield from asyncio.run(_states(database, url, extent.states))


@contextmanager
def _address(database: str) -> Iterator[str]:
    if database == "SQLite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/modelhost.db"
    else:
        with postgres_server(durable=True) as server:
            yield server.new_database()


async def _sessions(database: str, url: str, messages: int, turns: int) -> list[StateCost]:
    store = _store(url)
    names = [f"session-{number}" for number in range(messages // MESSAGES)]
    for start in range(0, len(names), BATCH):
        await store.sessions.put_all(Session.of(name, _history()) for name in names[start : start + BATCH])
    added: list[float] = []
    read: list[float] = []
    whole: list[float] = []
    chance = random.Random(0)
    for _ in range(turns + WARM_UP):
        name = chance.choice(names)
        began = time.perf_counter()
        async with store.sessions.hold(name) as session:
            adding = time.perf_counter()
            await session.append([_message("user"), _message("assistant")])
            added.append(time.perf_counter() - adding)
        whole.append(time.perf_counter() - began)
        name = chance.choice(names)
        began = time.perf_counter()
        await store.sessions.get(name)
        read.append(time.perf_counter() - began)
    await store.close()
    figures = (("append to a session", added), ("hold, append, give back", whole), ("read a session", read))
    return [
        StateCost(database=database, what=f"{what}, of {messages:,} messages", seconds=tuple(seconds[WARM_UP:]))
        for what, seconds in figures
    ]


async def _states(database: str, url: str, times: int) -> list[StateCost]:
    store = _store(url)
    await store.sessions.put_all(Session.of(f"session-{number}", _history()) for number in range(CONVERSATIONS))
    saved: list[float] = []
    loaded: list[float] = []
    for _ in range(times + 1):
        began = time.perf_counter()
        async with aclosing(store.sessions.all()) as sessions:
            conversations = tuple([SavedConversation.of(session) async for session in sessions])
        await store.snapshots.save("bench", SnapshotDocument(conversations=conversations), compression=True)
        saved.append(time.perf_counter() - began)
        began = time.perf_counter()
        _, document = await store.snapshots.load(session_id="bench")
        await store.sessions.put_all(each.session() for each in document.conversations)
        loaded.append(time.perf_counter() - began)
    await store.close()
    figures = (("save", saved), ("load", loaded))
    return [
        StateCost(database=database, what=f"{what} {CONVERSATIONS:,} conversations", seconds=tuple(seconds[1:]))
        for what, seconds in figures
    ]


def _store(url: str) -> StateStore:
    return StateStore(
        Settings.model_validate(
            {
                "database_url": url,
                "data_dir": str(Path(tempfile.gettempdir())),
                "max_sessions": LARGE,
                "max_session_messages": MESSAGES,
            }
        )
    )


def _history() -> Sequence[Message]:
    return [_message("assistant" if number % 2 else "user") for number in range(MESSAGES)]


def _message(role: str) -> Message:
    return {"role": role, "content": TEXT}
