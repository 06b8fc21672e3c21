"""Answers that are kept for a moment."""

from __future__ import annotations

import asyncio

import pytest

from modelhost.monitor.monitor import RecentAnswers

pytestmark = pytest.mark.usefixtures("virtual_time")


class Counting:
    """Makes a new number each time, which takes a while."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> int:
        await asyncio.sleep(0.1)
        self.made += 1
        if self.made == 3:
            raise ValueError("three")
        return self.made


@pytest.mark.promise("vllm-crush.caching.metrics", "vllm-crush.batch.metrics")
async def test_those_who_want_the_same_get_the_same_as_long_as_it_is_kept() -> None:
    answers, make = RecentAnswers(2.0), Counting()
    assert await asyncio.gather(*(answers.get("a", make) for _ in range(5))) == [1] * 5
    assert await answers.get("b", make) == 2
    await asyncio.sleep(1)
    assert await answers.get("a", make) == 1
    await asyncio.sleep(2)
    with pytest.raises(ValueError, match="three"):
        await answers.get("a", make)
    assert await answers.get("a", make) == 4


async def test_with_no_time_nothing_is_kept() -> None:
    answers, make = RecentAnswers(0), Counting()
    assert [await answers.get("a", make) for _ in range(2)] == [1, 2]


async def test_who_leaves_does_not_take_the_answer_of_others_away() -> None:
    answers, make = RecentAnswers(2.0), Counting()
    first, second = (asyncio.create_task(answers.get("a", make)) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    assert await second == 1
