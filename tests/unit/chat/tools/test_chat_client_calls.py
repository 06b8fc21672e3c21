"""The tool loop where the request brings tools beside those of the host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import pytest

from modelhost.exchange.messages import Message
from tests.support.loop_world import (
    Chunk,
    Model,
    Tools,
    called,
    chunks_of,
    loop_of,
    reasons,
    said,
    streamed,
    takes,
    told,
    turn,
)

pytestmark = pytest.mark.usefixtures("virtual_time")

MINE = ("mine", "other")


def calls_in(chunks: Iterable[Chunk]) -> list[tuple[int, str, str]]:
    """The calls that a client of OpenAI's API reads: index, name, arguments."""
    found: dict[int, list[str]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            for call in choice["delta"].get("tool_calls") or ():
                known = found.setdefault(call["index"], ["", ""])
                known[0] += call["function"].get("name") or ""
                known[1] += call["function"].get("arguments") or ""
    return [(index, name, arguments) for index, (name, arguments) in found.items()]


def shape(messages: list[Message]) -> list[Any]:
    return [
        (message.role, [call.name for call in message.tool_calls]) if message.tool_calls else message.role
        for message in messages
    ]


async def test_a_call_of_the_client_ends_the_answer() -> None:
    model = Model(turn(said("Well. "), called("mine", '{"a": 1}')))
    loop = loop_of(model, client_tools=MINE)
    chunks = await chunks_of(loop)
    assert calls_in(chunks) == [(0, "mine", '{"a": 1}')]
    assert reasons(chunks) == ["tool_calls"]
    assert shape(loop.transcript) == [("assistant", ["mine"])]
    assert loop.transcript[0].content == "Well. "


async def test_a_call_of_the_client_comes_as_it_is_written() -> None:
    goes_on = asyncio.Event()
    first, *others = called("mine", '{"a": 1}')
    model = Model(turn([first], goes_on, others))
    async with aclosing(streamed(loop_of(model, client_tools=MINE))) as found:
        seen = [await anext(found), await anext(found)]
        assert calls_in(seen) == [(0, "mine", "")]
        goes_on.set()
        assert calls_in([*seen, *[chunk async for chunk in found]]) == [(0, "mine", '{"a": 1}')]


async def test_calls_of_the_host_before_it_are_run_in_turns_of_their_own() -> None:
    model = Model(turn(called("now")), turn(called("mine")))
    tools = Tools(now=takes(1, "5"))
    loop = loop_of(model, tools, client_tools=MINE)
    chunks = await chunks_of(loop)
    assert [name for name, _ in tools.calls] == ["now"]
    assert calls_in(chunks) == [(0, "mine", "{}")]
    assert shape(loop.transcript) == [("assistant", ["now"]), "tool", ("assistant", ["mine"])]


async def test_of_a_turn_with_both_the_host_runs_its_own_first() -> None:
    model = Model(
        turn(called("mine"), called("now", index=1), called("other", '{"b": 2}', index=2), called("now", index=3))
    )
    tools = Tools(now=takes(1, "5"))
    loop = loop_of(model, tools, client_tools=MINE)
    chunks = await chunks_of(loop)
    assert tools.most_running == 2
    assert calls_in(chunks) == [(0, "mine", "{}"), (1, "other", '{"b": 2}')]
    held = next(at for at, chunk in enumerate(chunks) if any(name == "other" for _, name, _ in calls_in([chunk])))
    assert len(told(chunks[:held], "tool_result")) == 2
    assert [choice["delta"].get("tool_calls", []) for choice in chunks[held]["choices"]] == [
        [{"index": 1, "id": "call-other-2", "function": {"name": "other", "arguments": '{"b": 2}'}}]
    ]
    assert reasons(chunks) == ["tool_calls"]
    assert shape(loop.transcript) == [
        ("assistant", ["now", "now"]),
        "tool",
        "tool",
        ("assistant", ["mine", "other"]),
    ]


async def test_in_the_last_turn_the_client_gets_its_calls_too() -> None:
    chunks = await chunks_of(loop_of(Model(turn(called("mine"))), client_tools=MINE, turns=1))
    assert calls_in(chunks) == [(0, "mine", "{}")]
    assert reasons(chunks) == ["tool_calls"]


async def test_a_call_that_is_cut_short_ends_as_the_model_did() -> None:
    chunks = await chunks_of(loop_of(Model(turn(called("mine", '{"a'), reason="length")), client_tools=MINE))
    assert reasons(chunks) == ["length"]
