"""What goes wrong, as each door says it; and that the next request is answered."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from tests.doors.door import Door
from tests.doors.doors import over
from tests.doors.talk import Ask, Outcome
from tests.doors.world import PLACES, SLOTS
from tests.support.eventually import eventually_async


def check(door: Door, got: Outcome, code: str, *says: str) -> None:
    """Check that the answer is the failure ``code``, and that its message holds ``says``."""
    assert got.failure is not None
    assert got.failure.code == code or (got.failure.code is None and not door.can("codes"))
    for each in says:
        assert each in got.failure.message


async def check_that_it_goes_on(door: Door) -> None:
    assert (await door.ask(Ask(said="/echo again"))).text == "again"


@over()
async def test_a_worker_that_dies_before_it_says_anything_is_a_crash(door: Door) -> None:
    check(door, await door.ask(Ask(said="/crash 0")), "worker_crashed", "SIGKILL")
    await check_that_it_goes_on(door)


@over("pieces", sockets=True)
async def test_a_worker_that_dies_in_the_middle_is_a_crash_behind_what_it_said(door: Door) -> None:
    got = await door.ask(Ask(said="/batch 1 /crash 2 /echo one two three"))
    check(door, got, "worker_crashed", "SIGKILL")
    assert got.pieces == ["one", " two"]
    assert got.finish is None
    await check_that_it_goes_on(door)


@over()
async def test_an_error_of_the_engine_is_told_as_one(door: Door) -> None:
    for status in (500, 503):
        check(door, await door.ask(Ask(said=f"/error {status}")), "engine_error", "the script says so")
    await check_that_it_goes_on(door)


@over()
async def test_an_answer_that_breaks_off_is_an_error_of_the_engine(door: Door) -> None:
    for pace in ("/batch 1", "/batch 16"):  # the broken event comes by itself, or together with others
        got = await door.ask(Ask(said=f"{pace} /malformed 2 /echo one two three"))
        check(door, got, "engine_error")
        assert got.finish is None
    await check_that_it_goes_on(door)


@over(sockets=True)
async def test_a_prompt_that_does_not_fit_is_refused_with_both_counts(door: Door) -> None:
    got = await door.ask(Ask(said="word " * 5000))
    check(door, got, "context_length_exceeded", "5000", "4096", "too long")
    assert got.failure is not None
    assert got.failure.status in {None, 400}


@over("model")
async def test_an_unknown_model_is_refused_with_those_that_there_are(door: Door) -> None:
    check(door, await door.ask(Ask(said="hello", model="nobody")), "model_not_found", "nobody", "scripted")


@over("limit")
async def test_a_value_that_cannot_be_is_refused_by_its_name(door: Door) -> None:
    limit, name = door.refused_limit
    check(door, await door.ask(Ask(said="hello", max_tokens=limit)), "invalid_request", name)


@over()
async def test_a_request_over_those_that_may_wait_is_refused_at_once(door: Door) -> None:
    async with door.world.occupied(SLOTS + PLACES):
        check(door, await door.ask(Ask(said="/echo yes")), "queue_full", "wait")
    await check_that_it_goes_on(door)


@over("waits")
async def test_who_waits_is_told_the_place_and_then_answered(door: Door) -> None:
    async with AsyncExitStack() as stack:
        async with door.world.occupied(SLOTS):
            asking = door.asking(Ask(said="/batch 1 /echo yes indeed", tells_waits=True))
            got, task = await stack.enter_async_context(asking)
            await eventually_async(lambda: got.waits)
        await task
    assert got.waits[0] == ("1" if door.tells_place else "")
    assert got.text == "yes indeed"


@over("waits")
async def test_who_is_told_of_waits_is_told_of_failures_too(door: Door) -> None:
    async with door.world.occupied(SLOTS + PLACES):
        check(door, await door.ask(Ask(said="/echo yes", tells_waits=True)), "queue_full", "wait")
    got = await door.ask(Ask(said="/batch 1 /malformed 2 /echo one two three", tells_waits=True))
    check(door, got, "engine_error")
    assert got.pieces == ["one", " two"]


@over()
async def test_as_many_as_there_are_places_are_answered_each_with_its_own(door: Door) -> None:
    asked = (door.ask(Ask(said=f"/slow 100 /echo {number} is here")) for number in range(SLOTS + PLACES))
    async with asyncio.timeout(30):
        texts = [got.text for got in await asyncio.gather(*asked)]
    assert texts == [f"{number} is here" for number in range(SLOTS + PLACES)]
