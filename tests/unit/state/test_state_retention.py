"""What is kept of responses and conversations, and what goes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from modelhost.errors import ConversationNotFound, ResponseNotFound
from modelhost.meters import METERS
from modelhost.state.retention import Dropped, ResponseLimits, Use, over_limits
from modelhost.state.sql.tables import conversations, responses
from modelhost.state.store import StateStore
from modelhost.state.stored_response import Usage
from tests.support.metrics import metric_value
from tests.support.response_items import background, message, new
from tests.unit.state.conftest import MakeStore

LIMITS = ResponseLimits(count=3, size_bytes=1000, unused=timedelta(days=1))
START = datetime(2026, 1, 1, tzinfo=UTC)


def used(*names: str, size: int = 100) -> list[Use]:
    return [(START + timedelta(minutes=int(name[1:])), name, size) for name in names]


def dropped(responses: list[Use], conversations: list[Use], newest: str = "") -> Dropped:
    usage = Usage(
        responses=len(responses),
        conversations=len(conversations),
        size_bytes=sum(size for _, _, size in [*responses, *conversations]),
    )
    return over_limits(usage, LIMITS, responses, conversations, newest=newest)


def test_nothing_goes_within_the_limits() -> None:
    assert dropped(used("r1", "r2", "r3"), used("c1", "c2", "c3")) == Dropped()


def test_the_least_recently_used_go_beyond_the_number_of_each_kind() -> None:
    assert dropped(used("r1", "r2", "r3", "r4", "r5"), used("c0")) == Dropped(responses=("r1", "r2"))
    assert dropped(used("r0"), used("c1", "c2", "c3", "c4")) == Dropped(conversations=("c1",))


def test_the_least_recently_used_go_beyond_the_size_of_both_together() -> None:
    over = dropped(used("r2", "r4", size=400), used("c1", "c3", size=400))
    assert over == Dropped(responses=("r2",), conversations=("c1",))


def test_the_newest_stays_even_if_it_alone_is_too_large() -> None:
    assert dropped(used("r1", size=5000), [], newest="r1") == Dropped()
    assert dropped(used("r1", "r2", size=5000), [], newest="r2") == Dropped(responses=("r1",))


async def test_stored_responses_stay_within_their_number(make_store: MakeStore) -> None:
    store = make_store(max_responses=2)
    for number in range(4):
        await store.responses.put(new(f"resp_{number}"))
    assert (await store.responses.usage()).responses == 2
    with pytest.raises(ResponseNotFound):
        await store.responses.get("resp_1", "")
    assert (await store.responses.get("resp_3", "")).id == "resp_3"
    assert metric_value(METERS.stored_responses) == 2


async def test_stored_responses_and_conversations_stay_within_their_size(make_store: MakeStore) -> None:
    store = make_store(max_responses_mb=0.05)
    conversation = await store.conversations.create("", {}, [message("msg_c", "x" * 20_000)])
    for number in range(4):
        await store.responses.put(new(f"resp_{number}", own_input=[message(f"msg_{number}", "x" * 20_000)]))
    usage = await store.responses.usage()
    assert usage.size_bytes <= 50_000
    assert (usage.responses, usage.conversations) == (2, 0)
    with pytest.raises(ConversationNotFound):
        await store.conversations.get(conversation.id, "")


async def age(store: StateStore, days: float) -> None:
    past = datetime.now(UTC) - timedelta(days=days)
    database = await store.database.get()
    for table in (responses, conversations):
        await database.write(
            lambda rows, table=table: rows.connection.execute(update(table).values(used_at=past)) and None
        )


async def test_what_is_unused_for_long_goes(make_store: MakeStore) -> None:
    store = make_store(response_retention_days=3)
    await store.responses.put(new("resp_1"))
    await store.conversations.create("", {}, [])
    await age(store, 4)
    await make_store(response_retention_days=3).responses.put(new("resp_2"))
    usage = await store.responses.usage()
    assert (usage.responses, usage.conversations) == (1, 0)


async def test_the_beginning_of_a_conversation_counts_as_used_with_its_end(make_store: MakeStore) -> None:
    store = make_store(max_responses=3)
    await store.responses.put(new("resp_1"))
    await store.responses.put(new("resp_2", after="resp_1"))
    await store.responses.put(new("resp_other"))
    await age(store, 1)
    await store.responses.history("resp_2", "")
    await store.responses.put(new("resp_3", after="resp_2"))
    assert len(await store.responses.history("resp_3", "")) == 6
    with pytest.raises(ResponseNotFound):
        await store.responses.get("resp_other", "")


async def test_a_response_that_is_being_made_does_not_go(make_store: MakeStore) -> None:
    store = make_store(max_responses=1)
    await store.responses.begin(background("resp_1"), lambda: None)
    await age(store, 100)
    await store.responses.put(new("resp_2"))
    assert (await store.responses.get("resp_1", "")).status == "queued"


async def test_the_size_is_that_of_everything_stored(store: StateStore) -> None:
    assert (await store.responses.usage()).size_bytes == 0
    await store.responses.put(new("resp_1"))
    one = (await store.responses.usage()).size_bytes
    await store.responses.put(new("resp_2"))
    assert (await store.responses.usage()).size_bytes == 2 * one
    made = await store.conversations.create("", {}, [message("msg_1"), message("msg_2")])
    await store.conversations.remove_item(made.id, "", "msg_1")
    await store.conversations.remove_item(made.id, "", "msg_2")
    assert (await store.responses.usage()).size_bytes == 2 * one + len(b"{}")
