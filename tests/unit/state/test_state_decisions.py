"""Decisions that one of the hosts of a database carries out, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from modelhost.state.sql.tables import decisions
from modelhost.state.store import StateStore
from tests.support.response_items import new
from tests.unit.state.conftest import MakeStore


async def test_one_of_several_hosts_takes_a_decision(make_store: MakeStore) -> None:
    hosts = [make_store().decisions for _ in range(4)]
    found = await asyncio.gather(*(host.take(["mcpr_1"], "ada") for host in hosts))
    assert sorted(found, key=str) == [None, "mcpr_1", "mcpr_1", "mcpr_1"]


async def test_of_several_decisions_all_are_taken_or_none(make_store: MakeStore) -> None:
    one, other = make_store().decisions, make_store().decisions
    assert await one.take(["b"], "ada") is None
    assert await other.take(["a", "b", "c"], "ada") == "b"
    assert await one.take(["a", "c"], "ada") is None


async def test_those_of_somebody_else_are_others(store: StateStore) -> None:
    assert [await store.decisions.take(["a"], owner) for owner in ("ada", "eve", "")] == [None] * 3


async def test_one_that_is_released_may_be_taken_again(make_store: MakeStore) -> None:
    one, other = make_store().decisions, make_store().decisions
    assert await one.take(["a", "b"], "ada") is None
    await one.release(["a", "b"], "ada")
    assert await other.take(["a", "b"], "ada") is None


async def test_one_that_is_not_released_goes_with_what_is_as_old(make_store: MakeStore) -> None:
    store = make_store(response_retention_days=3)
    for name in ("old", "new"):
        assert await store.decisions.take([name], "") is None
    database = await store.database.get()
    (old, *_) = await database.read(lambda rows: rows.connection.execute(decisions.select()).scalars().all())
    then = datetime.now(UTC) - timedelta(days=4)
    await database.write(
        lambda rows: rows.connection.execute(update(decisions).where(decisions.c.name == old).values(taken_at=then))
    )
    await store.responses.put(new("resp_1"))
    left = await database.read(lambda rows: rows.connection.execute(decisions.select()).scalars().all())
    assert len(left) == 1
    assert old not in left
