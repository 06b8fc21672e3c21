"""Clients that leave: whatever they waited for, nothing goes on for them."""

from __future__ import annotations

import asyncio

from tests.doors.door import Door
from tests.doors.doors import over
from tests.doors.talk import Ask
from tests.doors.world import SLOTS
from tests.support.eventually import LONG_ENOUGH_SECONDS, POLL_SECONDS, eventually_async


async def cancelled(door: Door) -> int:
    """How many requests the engine has given up, since nobody was there any more."""
    count: int = (await door.world.engine())["cancelled"]
    return count


async def check_that_it_ends(door: Door, before: int) -> None:
    """Check that the place is free again, and that the engine has stopped, too."""
    await door.world.idle()
    async with asyncio.timeout(LONG_ENOUGH_SECONDS):
        while await cancelled(door) != before + 1:  # noqa: ASYNC110 (another process changes it)
            await asyncio.sleep(POLL_SECONDS)


@over("pieces", "leaving between pieces", sockets=True)
async def test_leaving_in_the_middle_of_an_answer_ends_it(door: Door) -> None:
    before = await cancelled(door)
    async with door.asking(Ask(said="/tokens 400 /slow 50")) as (got, _):
        await eventually_async(lambda: got.pieces)
    await check_that_it_ends(door, before)


@over("leaving at any time", sockets=True)
async def test_leaving_before_anything_was_said_ends_the_work(door: Door) -> None:
    before = await cancelled(door)
    async with door.asking(Ask(said="/delay 60 /echo late")) as (_, task):
        await eventually_async(lambda: door.world.in_flight == 1)
        assert not task.done()
    await check_that_it_ends(door, before)


@over("leaving at any time")
async def test_leaving_the_queue_gives_up_the_place(door: Door) -> None:
    async with door.world.occupied(SLOTS):
        async with door.asking(Ask(said="/echo late")):
            await eventually_async(lambda: door.world.waiting == 1)
        await eventually_async(lambda: door.world.waiting == 0)
        assert door.world.in_flight == SLOTS
