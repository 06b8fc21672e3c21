"""Several choices or prompts in one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from modelhost.chat.fanout import merge, split, total
from modelhost.errors import InvalidRequest
from modelhost.exchange.events import Envelope, Piece, PieceStream, Text
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


def piece(name: str) -> Piece:
    return (Text(envelope=Envelope(id=name, created=1, kind="text_completion"), text=name),)


def part(*names: str, error: Exception | None = None) -> Callable[[], PieceStream]:
    async def pieces() -> PieceStream:
        for name in names:
            await asyncio.sleep(0)
            yield piece(name)
        if error is not None:
            raise error

    return pieces


async def test_chunks_of_all_parts_come_under_one_id_with_their_indexes() -> None:
    async with asyncio.timeout(5):
        found = [each async for each in merge([part("a", "b"), part("c")], at_once=2)]
    assert len({event.envelope.id for each in found for event in each}) == 1
    texts: dict[int, str] = {}
    for (event,) in found:
        assert isinstance(event, Text)
        texts[event.choice] = texts.get(event.choice, "") + event.text
    assert texts == {0: "ab", 1: "c"}


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b", "c")])
@pytest.mark.parametrize("others", [0, 1, 3])
async def test_an_error_of_one_part_ends_all_and_is_raised(names: tuple[str, ...], others: int) -> None:
    parts = [part("x") for _ in range(others)] + [part(*names, error=InvalidRequest("no"))]

    async def read_slowly() -> None:
        async for _ in merge(parts, at_once=4):
            await turns()  # the part has failed by the time that its chunk is read

    with pytest.raises(InvalidRequest):
        await asyncio.wait_for(read_slowly(), 5)


async def test_a_reader_that_leaves_ends_every_part() -> None:
    closed = [asyncio.Event(), asyncio.Event()]
    unused = iter(closed)

    async def endless() -> PieceStream:
        own = next(unused)
        try:
            while True:
                await asyncio.sleep(0)
                yield piece("x")
        finally:
            own.set()

    merged = merge([endless, endless], at_once=2)
    async with asyncio.timeout(5):
        await anext(merged)
        await merged.aclose()
        await asyncio.gather(*(each.wait() for each in closed))


async def test_an_error_while_the_reader_is_away_is_raised_when_it_returns() -> None:
    may_fail, has_failed = asyncio.Event(), asyncio.Event()

    async def failing() -> PieceStream:
        try:
            yield piece("a")
            await may_fail.wait()
            raise InvalidRequest("no")
        finally:
            has_failed.set()

    merged = merge([failing], at_once=1)
    async with asyncio.timeout(5):
        await anext(merged)
        may_fail.set()
        await has_failed.wait()
        await asyncio.sleep(0)  # the task that reads the part ends
        with pytest.raises(InvalidRequest):
            await anext(merged)


def test_what_was_known_of_the_prompts_is_summed() -> None:
    usages = [{"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": count}} for count in (1, 4, 2, 4)]
    assert total(usages, choices_per_prompt=2)["prompt_tokens_details"] == {"cached_tokens": 3}
    assert "prompt_tokens_details" not in total([{"prompt_tokens": 5}] * 2, choices_per_prompt=1)


@pytest.mark.parametrize("at_once", [1, 3])
async def test_no_more_parts_are_at_work_than_may_be_and_the_next_begins_when_one_has_ended(at_once: int) -> None:
    begun: list[int] = []
    at_work, most = 0, 0

    def counted(index: int) -> Callable[[], PieceStream]:
        async def pieces() -> PieceStream:
            nonlocal at_work, most
            begun.append(index)
            at_work += 1
            most = max(most, at_work)
            try:
                for text in "ab":
                    await asyncio.sleep(0)
                    yield piece(text)
            finally:
                at_work -= 1

        return pieces

    texts: dict[int, str] = {}
    async with asyncio.timeout(5):
        async for each in merge([counted(index) for index in range(200)], at_once=at_once):
            for event in each:
                assert isinstance(event, Text)
                texts[event.choice] = texts.get(event.choice, "") + event.text
    assert most == at_once
    assert begun == list(range(200))
    assert list(texts.items()) == [(index, "ab") for index in range(200)]


async def test_a_reader_that_leaves_keeps_the_parts_that_wait_from_beginning() -> None:
    begun: list[int] = []

    def part_of(index: int) -> Callable[[], PieceStream]:
        async def pieces() -> PieceStream:
            begun.append(index)
            while True:
                await asyncio.sleep(0)
                yield piece("x")

        return pieces

    merged = merge([part_of(index) for index in range(50)], at_once=2)
    async with asyncio.timeout(5):
        await anext(merged)
        await merged.aclose()
        await turns()
    assert begun == [0, 1]


def later(seconds: float, *names: str) -> Callable[[], PieceStream]:
    async def pieces() -> PieceStream:
        await asyncio.sleep(seconds)
        for name in names:
            yield piece(name)

    return pieces


@pytest.mark.usefixtures("virtual_time")
async def test_no_choice_begins_before_those_with_a_lower_index() -> None:
    parts = [later(3, "a", "b"), later(1, "c", "d"), later(0), later(2, "e")]
    found = [
        (event.choice, event.text)
        async for each in merge(parts, at_once=4)
        for event in each
        if isinstance(event, Text)
    ]
    assert found == [(0, "a"), (1, "c"), (1, "d"), (3, "e"), (0, "b")]
