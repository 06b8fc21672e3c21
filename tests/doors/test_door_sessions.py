"""Sessions: what is said again to the model, what is stored, and who waits for whom."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from tests.doors.door import Door
from tests.doors.doors import over
from tests.doors.talk import Ask
from tests.support.eventually import eventually_async


def new_session() -> str:
    return f"{uuid4()} \u00e9"


@over("sessions")
async def test_what_was_said_is_said_again_to_the_model(door: Door) -> None:
    session = new_session()
    for word in ("one", "two"):
        assert (await door.ask(Ask(said=f"/echo {word}", session=session))).text == word
    body = (await door.world.engine())["last_body"]
    assert [message["content"] for message in body["messages"]] == ["/echo one", "one", "/echo two"]
    assert await door.world.remembered(session) == ["/echo one", "one", "/echo two", "two"]
    await door.ask(Ask(said="/echo three", session=new_session()))
    body = (await door.world.engine())["last_body"]
    assert [message["content"] for message in body["messages"]] == ["/echo three"]


@over("sessions")
async def test_a_request_that_fails_stores_nothing(door: Door) -> None:
    session = new_session()
    for said in ("/error 500", "/malformed 2"):
        assert (await door.ask(Ask(said=said, session=session))).failure is not None
    assert await door.world.remembered(session) == []
    assert (await door.ask(Ask(said="/echo yes", session=session))).text == "yes"


@over("sessions", "leaving between pieces")
async def test_who_leaves_stores_nothing_and_lets_the_next_one_in(door: Door) -> None:
    session = new_session()
    async with door.asking(Ask(said="/tokens 400 /slow 50", session=session)) as (got, _):
        await eventually_async(lambda: got.pieces)
    assert (await door.ask(Ask(said="/echo yes", session=session))).text == "yes"
    assert await door.world.remembered(session) == ["/echo yes", "yes"]


@over("sessions")
async def test_requests_in_one_session_are_answered_one_after_the_other(door: Door) -> None:
    session = new_session()
    asked = (door.ask(Ask(said=f"/slow 200 /echo {number} is here", session=session)) for number in range(4))
    texts = [got.text for got in await asyncio.gather(*asked)]
    assert texts == [f"{number} is here" for number in range(4)]
    said = await door.world.remembered(session)
    assert sorted(said[1::2]) == texts
    assert said[::2] == [f"/slow 200 /echo {text}" for text in said[1::2]]


@over("sessions")
async def test_a_name_that_no_session_can_have_is_refused(door: Door) -> None:
    got = await door.ask(Ask(said="hello", session="x" * 257))
    assert got.failure is not None
    assert got.failure.code == "invalid_request"
    assert "session_id" in got.failure.message
