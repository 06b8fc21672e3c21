"""Stored conversations, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelhost.errors import ConversationNotFound, ItemNotFound
from modelhost.state.store import StateStore
from tests.support.response_items import message
from tests.unit.state.conftest import MakeStore

FIVE = [message(f"msg_{number}") for number in range(5)]


async def test_a_conversation_is_there_for_another_host_with_its_items(
    store: StateStore, make_store: MakeStore
) -> None:
    made = await store.conversations.create("ada", {"topic": "x"}, FIVE)
    other = make_store().conversations
    assert (await other.get(made.id, "ada")).metadata == {"topic": "x"}
    place, items = await other.history(made.id, "ada")
    assert (place.id, place.position, list(items)) == (made.id, 5, FIVE)


async def test_the_metadata_can_be_replaced(store: StateStore) -> None:
    made = await store.conversations.create("", {"a": "1"}, [])
    assert (await store.conversations.update(made.id, "", {"b": "2"})).metadata == {"b": "2"}
    assert (await store.conversations.get(made.id, "")).metadata == {"b": "2"}


@pytest.mark.parametrize("is_ascending", [True, False])
@pytest.mark.parametrize("limit", [2, 5, 100])
async def test_pages_give_every_item_once_in_either_order(store: StateStore, limit: int, is_ascending: bool) -> None:
    made = await store.conversations.create("", {}, FIVE)
    found: list[Any] = []
    after, has_more = None, True
    while has_more:
        page = await store.conversations.page(made.id, "", limit=limit, is_ascending=is_ascending, after=after)
        assert len(page.items) <= limit
        found, has_more = [*found, *page.items], page.has_more
        after = found[-1]["id"]
    assert found == (FIVE if is_ascending else FIVE[::-1])


async def test_an_item_that_is_there_is_not_added_again(store: StateStore) -> None:
    made = await store.conversations.create("", {}, FIVE[:2])
    assert await store.conversations.append(made.id, "", FIVE[1:3]) == (FIVE[2],)
    assert list((await store.conversations.history(made.id, ""))[1]) == FIVE[:3]


async def test_a_removed_item_is_gone_and_its_place_is_not_used_again(store: StateStore) -> None:
    made = await store.conversations.create("", {}, FIVE)
    assert (await store.conversations.remove_item(made.id, "", "msg_4")).id == made.id
    with pytest.raises(ItemNotFound):
        await store.conversations.item(made.id, "", "msg_4")
    await store.conversations.append(made.id, "", [message("msg_new")])
    place, items = await store.conversations.history(made.id, "")
    assert [item["id"] for item in items] == ["msg_0", "msg_1", "msg_2", "msg_3", "msg_new"]
    assert place.position == 6


async def test_items_of_many_writers_are_all_there_each_once(store: StateStore, make_store: MakeStore) -> None:
    made = await store.conversations.create("", {}, [])
    writers = [store.conversations, make_store().conversations]
    names = [f"msg_{number}" for number in range(20)]
    await asyncio.gather(
        *(writers[at % 2].append(made.id, "", [message(name), message(f"{name}b")]) for at, name in enumerate(names))
    )
    found = [item["id"] for item in (await store.conversations.history(made.id, ""))[1]]
    assert sorted(found) == sorted([*names, *(f"{name}b" for name in names)])
    assert all(found[found.index(name) + 1] == f"{name}b" for name in names)


async def test_what_is_unknown_or_somebody_elses_is_not_found(store: StateStore) -> None:
    made = await store.conversations.create("ada", {}, FIVE)
    conversations = store.conversations
    for name, owner in ((made.id, "eve"), ("conv_x", "ada"), ("\0", "ada")):
        for attempt in (
            conversations.get(name, owner),
            conversations.update(name, owner, {}),
            conversations.delete(name, owner),
            conversations.history(name, owner),
            conversations.append(name, owner, FIVE),
            conversations.page(name, owner, limit=1, is_ascending=True, after=None),
            conversations.item(name, owner, "msg_0"),
            conversations.remove_item(name, owner, "msg_0"),
        ):
            with pytest.raises(ConversationNotFound):
                await attempt
    for unknown in ("msg_9", "\0"):
        with pytest.raises(ItemNotFound):
            await conversations.item(made.id, "ada", unknown)
        with pytest.raises(ItemNotFound):
            await conversations.remove_item(made.id, "ada", unknown)
    with pytest.raises(ItemNotFound):
        await conversations.page(made.id, "ada", limit=1, is_ascending=True, after="msg_9")


async def test_a_deleted_conversation_is_gone_with_its_items(store: StateStore) -> None:
    made = await store.conversations.create("", {}, FIVE)
    await store.conversations.delete(made.id, "")
    with pytest.raises(ConversationNotFound):
        await store.conversations.get(made.id, "")
    assert await store.responses.find_items(["msg_0"], "") == {}
