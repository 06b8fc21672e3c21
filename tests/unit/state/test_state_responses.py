"""Stored responses, on both databases."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from modelhost.errors import InvalidRequest, PreviousResponseNotFound, ResponseNotFound
from modelhost.state.sql.tables import responses
from modelhost.state.store import StateStore
from modelhost.state.stored_response import HOST_STOPPED, Item, NewResponse, Progress
from tests.support.response_items import background, body, event, in_conversation, message, new
from tests.unit.state.conftest import MakeStore


def ids(items: tuple[Item, ...]) -> list[str]:
    return [item["id"] for item in items]


def ignore() -> None:
    """Do nothing when a response is lost."""


async def test_a_stored_response_is_there_for_another_host_as_it_was(store: StateStore, make_store: MakeStore) -> None:
    given = new("resp_1", owner="ada")
    await store.responses.put(given)
    found = await make_store().responses.get("resp_1", "ada")
    assert (found.body, found.own_input, found.status) == (given.body, tuple(given.own_input), "completed")
    assert found.is_finished


@pytest.mark.parametrize("name", ["resp_2", "", "\0", "x" * 500])
async def test_an_unknown_response_is_not_found(store: StateStore, name: str) -> None:
    await store.responses.put(new("resp_1"))
    with pytest.raises(ResponseNotFound):
        await store.responses.get(name, "")


async def test_somebody_elses_response_is_not_found(store: StateStore) -> None:
    await store.responses.put(new("resp_1", owner="ada"))
    for look in (store.responses.get, store.responses.delete, store.responses.input_items):
        with pytest.raises(ResponseNotFound):
            await look("resp_1", "eve")
    with pytest.raises(PreviousResponseNotFound):
        await store.responses.history("resp_1", "eve")
    assert await store.responses.find_items(["msg_to_resp_1"], "eve") == {}
    assert (await store.responses.get("resp_1", "ada")).id == "resp_1"


async def test_a_deleted_response_is_gone_with_its_items(store: StateStore) -> None:
    await store.responses.put(new("resp_1"))
    await store.responses.delete("resp_1", "")
    with pytest.raises(ResponseNotFound):
        await store.responses.get("resp_1", "")
    assert await store.responses.find_items(["msg_to_resp_1"], "") == {}


async def test_the_history_of_a_response_is_that_of_all_before_it(store: StateStore) -> None:
    await store.responses.put(new("resp_1"))
    await store.responses.put(new("resp_2", after="resp_1"))
    await store.responses.put(new("resp_2b", after="resp_1"))
    await store.responses.put(new("resp_3", after="resp_2"))
    history = await store.responses.history("resp_3", "")
    assert ids(history) == [f"msg_{way}_resp_{number}" for number in (1, 2, 3) for way in ("to", "of")]
    assert ids(await store.responses.input_items("resp_3", "")) == ids(history)[:-1]


async def test_a_response_whose_predecessor_was_deleted_cannot_be_continued(store: StateStore) -> None:
    await store.responses.put(new("resp_1"))
    await store.responses.put(new("resp_2", after="resp_1"))
    await store.responses.delete("resp_1", "")
    with pytest.raises(PreviousResponseNotFound, match="'resp_1' not found") as refused:
        await store.responses.history("resp_2", "")
    assert refused.value.param == "previous_response_id"
    assert ids(await store.responses.input_items("resp_2", "")) == ["msg_to_resp_2"]


async def test_a_response_that_is_still_made_cannot_be_continued(store: StateStore) -> None:
    await store.responses.begin(background("resp_1"), ignore)
    with pytest.raises(InvalidRequest, match="is queued"):
        await store.responses.history("resp_1", "")


async def test_items_are_found_by_their_ids_in_responses_and_conversations(store: StateStore) -> None:
    await store.responses.put(new("resp_1"))
    await store.conversations.create("", {}, [message("msg_c")])
    found = await store.responses.find_items(["msg_of_resp_1", "msg_c", "msg_unknown"], "")
    assert found == {"msg_of_resp_1": body("resp_1")["output"][0], "msg_c": message("msg_c")}


async def test_a_response_adds_its_items_to_its_conversation_each_once(store: StateStore) -> None:
    made = await store.conversations.create("", {}, [message("msg_0")])
    place, _ = await store.conversations.history(made.id, "")
    again = [message("msg_0"), message("msg_1")]
    await store.responses.put(in_conversation("resp_1", place, own_input=again))
    _, items = await store.conversations.history(made.id, "")
    assert ids(items) == ["msg_0", "msg_1", "msg_of_resp_1"]


async def test_a_failed_response_adds_nothing_to_its_conversation(store: StateStore) -> None:
    made = await store.conversations.create("", {}, [])
    place, _ = await store.conversations.history(made.id, "")
    await store.responses.put(in_conversation("resp_1", place, body=body("resp_1", "failed")))
    assert (await store.conversations.history(made.id, ""))[1] == ()


async def test_the_history_of_a_response_in_a_conversation_begins_there(store: StateStore) -> None:
    made = await store.conversations.create("", {}, [message("msg_0")])
    place, _ = await store.conversations.history(made.id, "")
    await store.responses.put(in_conversation("resp_1", place))
    await store.conversations.append(made.id, "", [message("msg_later")])
    await store.responses.put(new("resp_2", after="resp_1"))
    expected = ["msg_0", "msg_to_resp_1", "msg_of_resp_1", "msg_to_resp_2", "msg_of_resp_2"]
    assert ids(await store.responses.history("resp_2", "")) == expected
    await store.conversations.delete(made.id, "")
    with pytest.raises(PreviousResponseNotFound, match="conversation that it belongs to was deleted"):
        await store.responses.history("resp_2", "")


async def test_a_response_is_stored_even_if_its_conversation_is_gone(store: StateStore) -> None:
    made = await store.conversations.create("", {}, [])
    place, _ = await store.conversations.history(made.id, "")
    await store.conversations.delete(made.id, "")
    await store.responses.put(in_conversation("resp_1", place))
    assert (await store.responses.get("resp_1", "")).status == "completed"


async def test_a_background_response_grows_and_another_host_reads_along(
    store: StateStore, make_store: MakeStore
) -> None:
    reader, made = make_store().responses, background("resp_1")
    await store.responses.begin(made, ignore)
    assert (await reader.get("resp_1", "")).status == "queued"
    first = Progress(events=[event(0, "response.created"), event(1)], body=body("resp_1", "in_progress"))
    assert await store.responses.add(made, first)
    assert (await reader.get("resp_1", "")).status == "in_progress"
    assert await store.responses.add(made, Progress(events=[event(2)]))
    written = await reader.events("resp_1", after=0, limit=10)
    assert [json.loads(each)["sequence_number"] for each in written] == [1, 2]
    assert len(await reader.events("resp_1", after=-1, limit=2)) == 2
    last = Progress(events=[event(3, "response.completed")], body=body("resp_1"))
    assert await store.responses.add(made, last)
    found = await reader.get("resp_1", "")
    assert (found.status, found.holder, ids(found.items)) == ("completed", None, ["msg_to_resp_1", "msg_of_resp_1"])


async def test_a_background_response_adds_to_its_conversation_when_it_is_finished(store: StateStore) -> None:
    conversation = await store.conversations.create("", {}, [])
    place, _ = await store.conversations.history(conversation.id, "")
    made = background("resp_1", conversation=place)
    await store.responses.begin(made, ignore)
    await store.responses.add(made, Progress(body=body("resp_1", "in_progress")))
    assert (await store.conversations.history(conversation.id, ""))[1] == ()
    await store.responses.add(made, Progress(body=body("resp_1")))
    assert ids((await store.conversations.history(conversation.id, ""))[1]) == ["msg_to_resp_1", "msg_of_resp_1"]


async def lose(store: StateStore, response_id: str, *, expires: datetime | None = None) -> None:
    """Have a response be made by a process that is gone; or by one elsewhere that was last heard of before."""
    where = {"expires_at": expires, "machine": "elsewhere"} if expires is not None else {"pid": dead_pid()}
    lost = update(responses).where(responses.c.id == response_id).values(nonce="other", **where)
    await (await store.database.get()).write(lambda rows: rows.connection.execute(lost) and None)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


async def begun(store: StateStore) -> NewResponse:
    made = background("resp_1")
    await store.responses.begin(made, ignore)
    item = message("msg_1", role="assistant") | {"status": "in_progress"}
    added = event(1, "response.output_item.added", output_index=0, item=item)
    doing = body("resp_1", "in_progress")
    told = [event(0, "response.in_progress", response=doing), added]
    await store.responses.add(made, Progress(events=told, body=doing))
    return made


async def test_a_response_whose_host_was_killed_is_incomplete_with_a_reason_and_one_last_event(
    store: StateStore, make_store: MakeStore
) -> None:
    await begun(store)
    await lose(store, "resp_1")
    readers = [make_store().responses for _ in range(3)]
    found = await asyncio.gather(*(reader.get("resp_1", "") for reader in readers for _ in range(2)))
    assert {each.status for each in found} == {"incomplete"}
    assert found[0].body["incomplete_details"] == {"reason": HOST_STOPPED}
    assert [item["status"] for item in found[0].body["output"]] == ["incomplete"]
    events = [json.loads(each) for each in await readers[0].events("resp_1", after=-1, limit=10)]
    assert [each["sequence_number"] for each in events] == [0, 1, 2]
    assert events[-1] == {"type": "response.incomplete", "sequence_number": 2, "response": found[0].body}


async def test_a_host_elsewhere_is_waited_for_until_its_lease_expires(store: StateStore, make_store: MakeStore) -> None:
    await begun(store)
    reader = make_store().responses
    await lose(store, "resp_1", expires=datetime.now(UTC) + timedelta(minutes=1))
    assert (await reader.get("resp_1", "")).status == "in_progress"
    await lose(store, "resp_1", expires=datetime.now(UTC) - timedelta(seconds=1))
    assert (await reader.get("resp_1", "")).status == "incomplete"


async def test_a_response_that_another_host_ends_is_made_no_longer(store: StateStore, make_store: MakeStore) -> None:
    made, lost = background("resp_1"), asyncio.Event()
    await store.responses.begin(made, lost.set)
    other = make_store().responses
    assert await other.end("resp_1", "cancelled")
    assert not await other.end("resp_1", "cancelled")
    assert not await store.responses.add(made, Progress(events=[event(5)], body=body("resp_1")))
    found = await store.responses.get("resp_1", "")
    assert found.status == "cancelled"
    assert len(await other.events("resp_1", after=-1, limit=10)) == 1


async def test_the_host_of_a_response_hears_that_another_one_ended_it(
    store: StateStore, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.state.responses.RENEW_SECONDS", 0.01)
    kept, cancelled, deleted = (asyncio.Event() for _ in range(3))
    for name, on_lost in (("resp_1", kept), ("resp_2", cancelled), ("resp_3", deleted)):
        await store.responses.begin(background(name), on_lost.set)
    other = make_store().responses
    await other.end("resp_2", "cancelled")
    await other.delete("resp_3", "")
    async with asyncio.timeout(20):
        await asyncio.gather(cancelled.wait(), deleted.wait())
    assert not kept.is_set()


async def test_a_lease_is_renewed_as_long_as_the_response_is_made(
    store: StateStore, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.state.responses.RENEW_SECONDS", 0.01)
    looked = asyncio.Event()
    await store.responses.begin(background("resp_1"), ignore)
    await store.responses.begin(background("resp_2"), looked.set)
    past = update(responses).values(expires_at=datetime.now(UTC) - timedelta(minutes=1))
    await (await store.database.get()).write(lambda rows: rows.connection.execute(past) and None)
    other = make_store().responses
    await other.end("resp_2", "cancelled")
    async with asyncio.timeout(20):
        await looked.wait()
    found = await other.get("resp_1", "")
    assert (found.status, found.is_expired) == ("queued", False)


async def test_an_item_with_an_id_that_no_database_takes_is_stored_all_the_same(store: StateStore) -> None:
    odd = [message("x" * 400), message("a\0b"), {"type": "compaction", "encrypted_content": "x"}]
    await store.responses.put(replace(new("resp_1"), own_input=odd))
    assert list((await store.responses.get("resp_1", "")).own_input) == odd
