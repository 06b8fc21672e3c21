"""The format of a loop's answer: turns that may call tools are free, and only the answer is held to it."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.chat.structured_output import OutputSchema
from tests.support.loop_world import (
    Chunk,
    Model,
    Tools,
    called,
    chunks_of,
    delta,
    details,
    loop_of,
    reasons,
    said,
    takes,
    text_of,
    turn,
    used,
)

pytestmark = pytest.mark.usefixtures("virtual_time")

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": CITY}}
ROME, PARIS = '{"city": "Rome"}', '{"city": "Paris"}'


async def answered(model: Model, tools: Tools | None = None, **options: Any) -> list[Chunk]:
    fields = {"response_format": FORMAT, **options.pop("fields", {})}
    return await chunks_of(loop_of(model, tools, schema=OutputSchema(CITY), **options), **fields)


async def test_a_turn_that_may_call_tools_is_free_and_the_answer_has_the_format() -> None:
    model = Model(turn(said("I look it up."), called("t")), turn(said("It is ", "Rome.")), turn(said(ROME)))
    chunks = await answered(model, Tools(t=takes(0, "Rome")))
    assert text_of(chunks) == ROME
    assert (reasons(chunks), details(chunks)) == (["stop"], None)
    assert ["response_format" in body for body in model.bodies] == [False, False, True]
    assert [bool(body.get("tools")) for body in model.bodies] == [True, True, False]


async def test_the_turn_of_the_answer_goes_on_from_the_calls_and_not_from_what_is_left_out() -> None:
    model = Model(turn(called("t")), turn(said("It is Rome.")), turn(said(ROME)))
    await answered(model, Tools(t=takes(0, "Rome")))
    assert model.bodies[2]["messages"] == model.bodies[1]["messages"]
    assert [message["role"] for message in model.bodies[2]["messages"]] == ["user", "assistant", "tool"]


async def test_an_answer_that_has_the_format_anyway_is_not_written_again() -> None:
    model = Model(turn(called("t")), turn(said('{"city": ', '"Rome"}')))
    chunks = await answered(model, Tools(t=takes(0)))
    assert text_of(chunks) == ROME
    assert len(model.bodies) == 2


async def test_the_answer_is_streamed_as_it_is_written() -> None:
    chunks = await answered(Model(turn(said("Hm.")), turn(said('{"city": ', '"Paris"}'))))
    texts = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert [text for text in texts if text] == ['{"city": ', '"Paris"}']


async def test_reasoning_of_free_turns_is_passed_on() -> None:
    model = Model(turn([delta(reasoning_content="Hm.")], said("Paris")), turn(said(PARIS)))
    chunks = await answered(model)
    thoughts = [choice["delta"].get("reasoning_content") for chunk in chunks for choice in chunk["choices"]]
    assert "Hm." in thoughts
    assert text_of(chunks) == PARIS


async def test_usage_is_that_of_all_turns() -> None:
    model = Model(turn(said("Paris"), usage=used(10, 3)), turn(said(PARIS), usage=used(10, 4)))
    assert (await answered(model))[-1]["usage"]["completion_tokens"] == 7


async def test_an_answer_that_still_violates_the_schema_says_so() -> None:
    chunks = await answered(Model(turn(said("Hm.")), turn(said("{}"))))
    assert (text_of(chunks), details(chunks)) == ("{}", "schema_violated")


async def test_an_answer_that_is_cut_is_not_written_again() -> None:
    model = Model(turn(said("It is"), reason="length"))
    chunks = await answered(model)
    assert (text_of(chunks), reasons(chunks)) == ("It is", ["length"])
    assert len(model.bodies) == 1


async def test_an_answer_without_tokens_left_for_the_format_is_cut() -> None:
    model = Model(turn(said("It is Rome."), usage=used(10, 5)))
    chunks = await answered(model, fields={"max_tokens": 5})
    assert (reasons(chunks), details(chunks)) == (["length"], "token_limit")


async def test_the_last_turn_that_is_permitted_is_held_to_the_format() -> None:
    model = Model(turn(called("t")), turn(said(ROME)))
    chunks = await answered(model, Tools(t=takes(0)), turns=2)
    assert (text_of(chunks), reasons(chunks)) == (ROME, ["stop"])
    assert ["response_format" in body for body in model.bodies] == [False, True]


async def test_a_call_of_the_client_ends_the_answer_without_a_text() -> None:
    model = Model(turn(said("I ask."), called("own")))
    chunks = await answered(model, client_tools=("own",))
    assert (text_of(chunks), reasons(chunks)) == ("", ["tool_calls"])
