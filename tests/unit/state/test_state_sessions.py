"""Sessions, on both databases."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import InvalidRequest, SessionNotFound
from modelhost.state.records import Removed, Session
from modelhost.state.store import StateStore
from tests.unit.state.conftest import MakeStore

SYSTEM = {"role": "system", "content": "Be brief."}
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def turn(number: int) -> list[dict[str, Any]]:
    return [said(f"question {number}"), {"role": "assistant", "content": f"answer {number}"}]


async def append(store: StateStore, session_id: str, *messages: dict[str, Any], **more: Any) -> None:
    async with store.sessions.hold(session_id) as session:
        await session.append(messages, **more)


async def test_what_was_appended_is_there_for_the_next_holder_and_after_a_restart(make_store: MakeStore) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ü\\u0000"}'}}
    messages = [
        said("What time is it? 🕰 \x00"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
        {"role": "assistant", "content": "Noon."},
    ]
    first = make_store()
    async with first.sessions.hold("s") as session:
        assert (session.id, session.model, session.messages) == ("s", None, ())
        await session.append(messages, system=SYSTEM, model="nano")
        assert session.messages == (SYSTEM, *messages)
        await session.append([said("And now?")])
    async with first.sessions.hold("s") as session:
        assert session.messages == (SYSTEM, *messages, said("And now?"))
    await first.close()
    found = await make_store().sessions.get("s")
    assert (found.messages, found.model, found.message_count) == ((SYSTEM, *messages, said("And now?")), "nano", 6)
    assert found.created_at.tzinfo is UTC
    assert found.created_at < found.updated_at <= datetime.now(UTC)


async def test_a_system_message_takes_the_place_of_the_one_before(store: StateStore) -> None:
    await append(store, "s", *turn(1), system=SYSTEM)
    await append(store, "s", *turn(2), system={"role": "system", "content": "Be long."}, model="a")
    await append(store, "s", *turn(3))
    found = await store.sessions.get("s")
    assert found.messages == ({"role": "system", "content": "Be long."}, *turn(1), *turn(2), *turn(3))
    assert found.model == "a"


async def test_a_session_is_cut_to_its_limit_and_counts_what_is_left(make_store: MakeStore) -> None:
    store = make_store(max_session_messages=5)
    for number in range(4):
        await append(store, "s", *turn(number), system=SYSTEM)
    found = await store.sessions.get("s")
    assert found.messages == (SYSTEM, *turn(2), *turn(3))
    assert found.message_count == 5
    assert found.size_bytes == Session.of("s", found.messages).size_bytes


@pytest.mark.promise("vllm-mcp.sessions.fifo")
@pytest.mark.parametrize(("settings", "kept"), [({}, ["d", "c", "b"]), ({"session_eviction": "lru"}, ["d", "a", "c"])])
async def test_of_the_sessions_over_the_limit_the_oldest_is_dropped_or_the_one_that_was_not_used_for_longest(
    make_store: MakeStore, settings: dict[str, Any], kept: list[str]
) -> None:
    store = make_store(max_sessions=3, **settings)
    for name in ("a", "b", "c"):
        await append(store, name, *turn(0))
    await append(store, "a", *turn(1))
    await append(store, "d", *turn(0))
    assert [session.id for session in await store.sessions.list()] == kept


@pytest.mark.promise("vllm-mcp.sessions.fifo")
async def test_a_session_that_was_dropped_and_begins_anew_is_the_youngest(make_store: MakeStore) -> None:
    store = make_store(max_sessions=2)
    for name in ("a", "b", "a", "c", "a", "d"):
        await append(store, name, *turn(0))
    assert [session.id for session in await store.sessions.list()] == ["d", "a"]


async def test_a_session_that_somebody_holds_is_not_dropped(make_store: MakeStore) -> None:
    store, other = make_store(max_sessions=2), make_store(max_sessions=2)
    await append(store, "held", *turn(0))
    await append(store, "free", *turn(0))
    async with other.sessions.hold("held") as session:
        await append(store, "new", *turn(0))
        assert {found.id for found in await store.sessions.list()} == {"held", "new"}
        await session.append(turn(1))
    assert (await store.sessions.get("held")).messages == (*turn(0), *turn(1))


async def test_fewer_sessions_than_are_held_cannot_be_kept(make_store: MakeStore) -> None:
    store = make_store(max_sessions=1)
    async with store.sessions.hold("a") as a, store.sessions.hold("b") as b:
        await a.append(turn(0))
        await b.append(turn(0))
        assert await store.sessions.count() == 2
    await append(store, "c", *turn(0))
    assert [session.id for session in await store.sessions.list()] == ["c"]


async def test_tasks_get_a_session_in_the_order_in_which_they_came(store: StateStore) -> None:
    order: list[int] = []

    async def once(number: int) -> None:
        async with store.sessions.hold("s") as session:
            assert len(session.messages) == 2 * number
            order.append(number)
            await session.append(turn(number))

    async with asyncio.timeout(30):
        await asyncio.gather(*map(once, range(20)))
    assert order == list(range(20))
    assert (await store.sessions.get("s")).messages == tuple(message for n in range(20) for message in turn(n))


async def test_two_sessions_are_held_at_the_same_time(store: StateStore) -> None:
    async with asyncio.timeout(10), store.sessions.hold("a"), store.sessions.hold("b"):
        pass


async def test_a_task_that_is_cancelled_while_it_waits_leaves_the_session_to_the_others(store: StateStore) -> None:
    async with store.sessions.hold("s"):
        waiting = asyncio.create_task(append(store, "s", *turn(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(10):
        await append(store, "s", *turn(2))
    assert (await store.sessions.get("s")).messages == tuple(turn(2))


async def test_tasks_that_are_cancelled_anywhere_store_all_of_a_turn_or_nothing(store: StateStore) -> None:
    async def step(number: int, steps: int) -> None:
        task = asyncio.create_task(append(store, "s", *turn(number)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await store.open()
    async with asyncio.timeout(60):
        for number in range(60):
            await step(number, number)
        await append(store, "s", *turn(99))
    asked = [message["content"].split()[1] for message in (await store.sessions.get("s")).messages]
    assert asked[0::2] == asked[1::2]
    assert asked[-1] == "99"
    assert len(set(asked)) == len(asked) / 2


async def test_an_append_to_a_session_that_was_removed_meanwhile_begins_it_anew(store: StateStore) -> None:
    await append(store, "s", *turn(0), system=SYSTEM)
    async with store.sessions.hold("s") as session:
        await store.sessions.delete("s")
        await session.append(turn(1))
        assert session.messages == tuple(turn(1))
    assert (await store.sessions.get("s")).messages == tuple(turn(1))


async def test_an_append_to_a_session_that_was_replaced_meanwhile_goes_on_with_that(store: StateStore) -> None:
    await append(store, "s", *turn(0))
    async with store.sessions.hold("s") as session, store.sessions.hold("new") as new:
        await store.sessions.put_all([Session.of("s", turn(7)), Session.of("new", turn(8))])
        await session.append(turn(1))
        await new.append(turn(1))
    assert (await store.sessions.get("s")).messages == (*turn(7), *turn(1))
    assert (await store.sessions.get("new")).messages == (*turn(8), *turn(1))


async def test_put_keeps_times_and_the_limits(make_store: MakeStore) -> None:
    store = make_store(max_sessions=2, max_session_messages=3)
    sessions = [
        Session.of(
            name, [SYSTEM, *turn(0), *turn(1)], created_at=NOON + timedelta(hours=hour), updated_at=LATER, model="m"
        )
        for hour, name in enumerate(("oldest", "newer", "newest"))
    ]
    assert await store.sessions.put_all(sessions) == 2
    newest, newer = await store.sessions.list()
    assert (newest.id, newest.created_at, newest.updated_at) == ("newest", NOON + timedelta(hours=2), LATER)
    assert (newer.id, newer.model, newer.message_count) == ("newer", "m", 3)
    assert (await store.sessions.get("newer")).messages == (SYSTEM, *turn(1))
    assert not await store.sessions.put(Session.of("late", turn(0), updated_at=NOON))
    assert await store.sessions.put(Session.of("now", turn(0)))


async def test_put_all_stores_nothing_if_one_of_them_cannot_be_stored(store: StateStore) -> None:
    with pytest.raises(TypeError):
        await store.sessions.put_all([Session.of("a", turn(0)), _unstorable("b")])
    assert await store.sessions.count() == 0


def _unstorable(name: str) -> Session:
    good = Session.of(name, turn(0))
    return Session(
        **{slot: getattr(good, slot) for slot in _FIELDS} | {"messages": ({"role": "user", "content": {1}},)}
    )


_FIELDS = ("id", "created_at", "updated_at", "message_count", "model", "size_bytes")


async def test_a_thousand_sessions_are_put_and_read_as_they_are(make_store: MakeStore) -> None:
    store = make_store(max_sessions=1000)
    given = [Session.of(f"s{n}", turn(n), updated_at=NOON + timedelta(seconds=n)) for n in range(1000)]
    assert await store.sessions.put_all(given) == 1000
    async with aclosing(store.sessions.all()) as everything:
        found = [session async for session in everything]
    assert [session.id for session in found] == [session.id for session in reversed(given)]
    assert found == list(reversed(given))
    await make_store(max_sessions=300).sessions.put(Session.of("one more", turn(0)))
    assert await store.sessions.count() == 300


async def test_reading_all_sees_one_moment_and_keeps_nobody_waiting(make_store: MakeStore) -> None:
    store = make_store(max_sessions=500)
    await store.sessions.put_all(Session.of(f"s{n}", turn(n), updated_at=NOON) for n in range(250))
    seen = 0
    async with asyncio.timeout(30), aclosing(store.sessions.all()) as everything:
        async for session in everything:
            if not seen:
                await append(store, "s0", *turn(1))
                await store.sessions.delete("s1")
            seen += 1
            assert session.message_count == len(session.messages) == 2
    assert seen == 250


async def test_sessions_are_listed_page_by_page(store: StateStore) -> None:
    await store.sessions.put_all(Session.of(f"s{n}", turn(n), updated_at=NOON + timedelta(minutes=n)) for n in range(5))
    first = await store.sessions.list(limit=2)
    second = await store.sessions.list(limit=2, before=first[-1].updated_at)
    assert [session.id for session in (*first, *second)] == ["s4", "s3", "s2", "s1"]


async def test_what_is_removed_is_counted(store: StateStore) -> None:
    old = Session.of("old", turn(0), updated_at=NOON)
    new = Session.of("new", turn(1))
    await store.sessions.put_all([old, new])
    assert await store.sessions.clear(session_id="new", older_than=NOON) == Removed()
    removed = await store.sessions.clear(older_than=NOON + timedelta(seconds=1))
    assert removed == Removed(items=1, messages=2, bytes=old.size_bytes)
    assert await store.sessions.delete("new") == Removed(items=1, messages=2, bytes=new.size_bytes)
    with pytest.raises(SessionNotFound, match="new"):
        await store.sessions.delete("new")
    with pytest.raises(SessionNotFound, match="new"):
        await store.sessions.get("new")
    assert await store.sessions.clear() == Removed()


@pytest.mark.parametrize("session_id", ["", "x" * 257, "a\0b"])
async def test_what_cannot_be_an_id_is_refused(store: StateStore, session_id: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 256"):
        await append(store, session_id, *turn(0))
    with pytest.raises(InvalidRequest, match="1 to 256"):
        await store.sessions.put(Session.of(session_id, turn(0)))


async def test_a_task_that_is_cancelled_while_it_gives_a_session_back_takes_it_from_nobody(store: StateStore) -> None:
    async def step(steps: int) -> None:
        ended = asyncio.Event()

        async def hold() -> None:
            async with store.sessions.hold("s"):
                ended.set()

        task = asyncio.create_task(hold())
        await ended.wait()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await append(store, "s", *turn(steps))
        await asyncio.gather(task, return_exceptions=True)

    async with asyncio.timeout(60):
        for steps in range(30):
            await step(steps)
    assert (await store.sessions.get("s")).message_count == 50


@pytest.mark.parametrize("session_id", ["", "a\0b", "a\nb", "\x1b[2J", "a\x7f", "a\x85", "x" * 257])
async def test_session_is_not_made_with_an_id_that_does_something_to_a_terminal(
    store: StateStore, session_id: str
) -> None:
    with pytest.raises(InvalidRequest, match="control character"):
        async with store.sessions.hold(session_id):
            pass


async def test_session_may_have_an_id_of_any_script(store: StateStore) -> None:
    async with store.sessions.hold("Gespräch 1/2: 会話 🙂") as held:
        assert held.id == "Gespräch 1/2: 会話 🙂"


async def test_database_and_what_sqlite_puts_beside_it_are_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    store = StateStore(Settings(data_dir=str(tmp_path / "new" / "data")))
    try:
        await store.open()
        async with store.sessions.hold("anna"):
            modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*") if path.is_file()}
    finally:
        await store.close()
        os.umask(before)
    assert modes == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new", tmp_path / "new/data")} == {0o700}
