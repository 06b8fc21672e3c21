"""Answers: whole, in pieces, cut, of a schema, and in every script there is."""

from __future__ import annotations

import json

import pytest

from tests.doors.door import Ability, Door, HttpDoor, Refused
from tests.doors.doors import DOORS, Case, at, over
from tests.doors.openai_doors import ChatEvents, ChatRelayed
from tests.doors.talk import Ask
from tests.support.eventually import eventually_async

AGE = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
ODD_TEXTS = [
    "h\u00e9llo \u00fc\u00df",
    "e\u0301 \u1e9b\u0323",
    "\u6f22\u5b57\u4eee\u540d",
    "\u0645\u0631\u062d\u0628\u0627 \u202eabc\u202c",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7",
    "a\u2028b\u2029c\x85d",
    "a\x00b\x07c\x1b[31md",
    "\ufeffa\u200bb\ufffdc\uffff",
    "<|im_start|> </s> <tool_call>",
    "data: [DONE]",
    '{"error": "no", "x": "\\u0041"}',
    "\\ \" ' ` % {turn} ${x} &amp;",
    "one\n\ntwo\r\nthree\tfour",
]
BETWEEN = "\u00a7"
"""In none of them."""


@over(sockets=True)
async def test_odd_texts_come_back_as_they_were(door: Door) -> None:
    texts = [f"({text})" for text in ODD_TEXTS]
    enough = 200 if door.can("limit") else None
    got = await door.ask(Ask(said="/batch 1 /echo " + BETWEEN.join(texts), max_tokens=enough))
    assert got.failure is None
    assert got.text.split(BETWEEN) == texts


@over("halves")
async def test_half_a_character_is_the_callers_fault(door: Door) -> None:
    got = await door.ask(Ask(said="/echo a\ud800b"))
    assert got.failure is not None
    assert got.failure.code in {"invalid_json", "invalid_request"} or not door.can("codes")
    assert got.failure.status in {None, 400}


@over("pieces", sockets=True)
async def test_pieces_come_while_the_model_writes(door: Door) -> None:
    async with door.asking(Ask(said="/tokens 400 /slow 50")) as (got, task):
        await eventually_async(lambda: len(got.pieces) >= 3)
        assert not task.done()
        assert door.world.in_flight == 1


@over(sockets=True)
async def test_the_pieces_are_the_text(door: Door) -> None:
    got = await door.ask(Ask(said="/batch 1 /echo one two three four"))
    assert got.pieces == (["one", " two", " three", " four"] if door.can("pieces") else ["one two three four"])


@at([Case(kind=ChatRelayed), Case(kind=ChatEvents)])
async def test_a_streamed_chat_goes_both_ways(door: Door) -> None:
    assert isinstance(door, HttpDoor)
    await door.ask(Ask(said="hello"))
    assert door.world.relayed[-1] is door.relays


@over("finish", "usage")
async def test_an_answer_ends_once_and_its_tokens_are_counted(door: Door) -> None:
    got = await door.ask(Ask(said="/echo one two three"))
    assert (got.finish, got.detail, got.usage) == ("stop", None, (4, 3))


@over("limit")
async def test_an_answer_is_cut_at_the_limit(door: Door) -> None:
    got = await door.ask(Ask(said="/echo one two three", max_tokens=2))
    assert (got.text, got.finish) == ("one two", "length")


@over("stop")
async def test_a_stop_text_ends_the_answer_and_is_not_in_it(door: Door) -> None:
    for stop in (("three",), ("nothing", "three")):
        got = await door.ask(Ask(said="/echo one two three four", stop=stop))
        assert (got.text.rstrip(), got.finish) == ("one two", "stop")


@over("reasoning")
async def test_what_a_model_thinks_is_beside_its_answer(door: Door) -> None:
    got = await door.ask(Ask(said="think first"))
    assert (got.reasoning, got.text) == ("Let me see.", "Four.")


@over("schema")
async def test_an_answer_of_the_schema_is_an_ordinary_one(door: Door) -> None:
    got = await door.ask(Ask(said='/echo {"age": 7}', schema=AGE))
    assert (json.loads(got.text), got.finish, got.detail) == ({"age": 7}, "stop", None)
    assert '"required": ["age"]' in json.dumps((await door.world.engine())["last_body"])


@over("schema")
async def test_an_answer_that_is_not_of_the_schema_says_so(door: Door) -> None:
    got = await door.ask(Ask(said='/echo {"age": "seven"}', schema=AGE))
    assert (got.text, got.detail) == ('{"age": "seven"}', "schema_violated")


@over("model")
async def test_a_model_is_known_by_its_names(door: Door) -> None:
    for name in ("scripted", "also-scripted"):
        assert (await door.ask(Ask(said="/echo yes", model=name))).text == "yes"


CHANGED: dict[Ability, Ask] = {
    "limit": Ask(said="hello", max_tokens=2),
    "stop": Ask(said="hello", stop=("x",)),
    "model": Ask(said="hello", model="scripted"),
    "sessions": Ask(said="hello", session="mine"),
    "schema": Ask(said="hello", schema=AGE),
    "tools": Ask(said="hello", tools=("weather",)),
}
REFUSALS = [(kind, ability) for kind in DOORS for ability in CHANGED if isinstance(kind.lacks.get(ability), Refused)]


@pytest.mark.parametrize(
    ("door", "ability"),
    [(Case(kind=kind), ability) for kind, ability in REFUSALS],
    ids=[f"{kind.name}-{ability}" for kind, ability in REFUSALS],
    indirect=["door"],
)
async def test_what_a_door_cannot_do_is_refused(door: Door, ability: Ability) -> None:
    refused = door.lacks[ability]
    assert isinstance(refused, Refused)
    got = await door.ask(CHANGED[ability])
    assert got.failure is not None
    assert (got.failure.code, got.failure.status) == (refused.code, 400)
    assert refused.says in got.failure.message
