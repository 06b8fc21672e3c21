"""Several choices or prompts in one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from modelhost.chat.fanout import Chunks, merge, split, total
from modelhost.errors import InvalidRequest
from tests.support.fake_workers import turns


def test_choices_share_everything_but_the_seed() -> None:
    parts = split({"messages": ["m"], "n": 3, "seed": 5})
    assert parts == [{"messages": ["m"], "seed": 5 + index} for index in range(3)]


def test_without_a_seed_none_is_invented() -> None:
    assert split({"messages": [], "n": 2}) == [{"messages": []}, {"messages": []}]


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1, 2], [3]], [[1, 2], [3]])],
    ids=str,
)
def test_each_prompt_gets_its_choices_side_by_side(prompt: Any, prompts: list[Any]) -> None:
    parts = split({"prompt": prompt, "n": 2, "seed": 1})
    assert parts == [{"prompt": each, "seed": seed} for each in prompts for seed in (1, 2)]


def test_a_prompt_counts_once_however_many_choices_it_has() -> None:
    usages = [{"prompt_tokens": tokens, "completion_tokens": 2} for tokens in (3, 3, 5, 5)]
    assert total(usages, choices_per_prompt=2) == {"prompt_tokens": 8, "completion_tokens": 8, "total_tokens": 16}


def chunk(name: str) -> dict[str, Any]:
    return {"id": name, "created": 1, "choices": [{"index": 0, "text": name}]}


def part(*names: str, error: Exception | None = None) -> Callable[[], Chunks]:
    async def chunks() -> Chunks:
        for name in names:
            await asyncio.sleep(0)
            yield chunk(name)
        if error is not None:
            raise error

    return chunks


async def test_chunks_of_all_parts_come_under_one_id_with_their_indexes() -> None:
    async with asyncio.timeout(5):
        found = [each async for each in merge([part("a", "b"), part("c")])]
    assert len({each["id"] for each in found}) == 1
    texts: dict[int, str] = {}
    for each in found:
        (choice,) = each["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == {0: "ab", 1: "c"}


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b", "c")])
@pytest.mark.parametrize("others", [0, 1, 3])
async def test_an_error_of_one_part_ends_all_and_is_raised(names: tuple[str, ...], others: int) -> None:
    parts = [part("x") for _ in range(others)] + [part(*names, error=InvalidRequest("no"))]

    async def read_slowly() -> None:
        async for _ in merge(parts):
            await turns()  # the part has failed by the time that its chunk is read

    with pytest.raises(InvalidRequest):
        await asyncio.wait_for(read_slowly(), 5)


async def test_a_reader_that_leaves_ends_every_part() -> None:
    closed = [asyncio.Event(), asyncio.Event()]
    unused = iter(closed)

    async def endless() -> Chunks:
        own = next(unused)
        try:
            while True:
                await asyncio.sleep(0)
                yield chunk("x")
        finally:
            own.set()

    merged = merge([endless, endless])
    async with asyncio.timeout(5):
        await anext(merged)
        await merged.aclose()
        await asyncio.gather(*(each.wait() for each in closed))


async def test_an_error_while_the_reader_is_away_is_raised_when_it_returns() -> None:
    may_fail, has_failed = asyncio.Event(), asyncio.Event()

    async def failing() -> Chunks:
        try:
            yield chunk("a")
            await may_fail.wait()
            raise InvalidRequest("no")
        finally:
            has_failed.set()

    merged = merge([failing])
    async with asyncio.timeout(5):
        await anext(merged)
        may_fail.set()
        await has_failed.wait()
        await asyncio.sleep(0)  # the task that reads the part ends
        with pytest.raises(InvalidRequest):
            await anext(merged)
