"""Background work: the time of its next round."""

from __future__ import annotations

import asyncio

import pytest

from modelhost.background import Alarm

SECONDS = 10
FAR = 3_600.0


class Rings:
    """Counts what an alarm calls."""

    def __init__(self) -> None:
        self.count = 0
        self.alarm = Alarm(self._ring)
        self._rang = asyncio.Event()

    def _ring(self) -> None:
        self.count += 1
        self._rang.set()

    async def next(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self._rang.wait()
        self._rang.clear()


async def test_an_alarm_rings_once_at_the_earliest_time_that_was_set() -> None:
    rings, now = Rings(), asyncio.get_running_loop().time()
    rings.alarm.set(now + FAR)
    rings.alarm.set(now)
    await rings.next()
    assert rings.count == 1


async def test_an_alarm_can_be_set_again_when_it_has_rung() -> None:
    rings, now = Rings(), asyncio.get_running_loop().time()
    for _ in range(2):
        rings.alarm.set(now)
        await rings.next()
    assert rings.count == 2


async def test_a_later_time_leaves_the_alarm_as_it_is() -> None:
    rings, now = Rings(), asyncio.get_running_loop().time()
    rings.alarm.set(now + 0.05)
    rings.alarm.set(now + FAR)
    await rings.next()
    assert rings.count == 1


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_an_alarm_that_is_cancelled_or_set_to_never_does_not_ring(*, is_cancelled: bool) -> None:
    rings, loop = Rings(), asyncio.get_running_loop()
    due, passed = loop.time() + 0.01, asyncio.Event()
    if is_cancelled:
        rings.alarm.set(due)
        rings.alarm.cancel()
    else:
        rings.alarm.set(float("inf"))
    loop.call_at(due, passed.set)
    async with asyncio.timeout(SECONDS):
        await passed.wait()
    assert rings.count == 0
