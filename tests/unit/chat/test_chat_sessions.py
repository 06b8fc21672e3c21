"""One request in a session: what is stored of it, and when the client is told the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from modelhost.chat.sessions import SessionTurn
from modelhost.chat.tools.loop import ToolLoop
from modelhost.errors import DatabaseUnavailable
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.events import Finish, Piece, Text
from modelhost.exchange.messages import message_json
from tests.support.loop_world import (
    Chunk,
    Model,
    Tools,
    called,
    delta,
    fails,
    loop_of,
    request,
    said,
    takes,
    turn,
)

Message = Mapping[str, Any]

QUESTION = {"role": "user", "content": "Go."}
ANSWER = {"role": "assistant", "content": "Hello Anna"}


class Held:
    """A session in memory; ``append`` waits for ``may_write`` if it is told to."""

    def __init__(self, *messages: Message) -> None:
        self.messages: tuple[Message, ...] = messages
        self.appended: list[tuple[list[Message], Message | None, str | None]] = []
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.is_writing = asyncio.Event()
        self.error: Exception | None = None

    async def append(
        self, messages: Sequence[Message], *, system: Message | None = None, model: str | None = None
    ) -> None:
        self.is_writing.set()
        await self.may_write.wait()
        if self.error:
            raise self.error
        self.appended.append((list(messages), system, model))


def turn_of(held: Held, *messages: Message, **fields: Any) -> SessionTurn:
    return SessionTurn(held, request(messages=list(messages or [QUESTION]), **fields), model="m")


def piece(chunk: Chunk) -> Piece:
    return ChunkReader().read(chunk)


async def pieces(*chunks: Chunk) -> AsyncIterator[Piece]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield piece(chunk)


def text_in(told: Sequence[Piece]) -> str:
    return "".join(event.text for each in told for event in each if isinstance(event, Text))


STREAM: tuple[Chunk, ...] = (
    delta(role="assistant", content=None),
    delta(content="Hello "),
    delta(content="Anna", reasoning_content="hm"),
    delta("stop"),
    {**delta(), "choices": [], "usage": {"total_tokens": 3}},
)


async def test_the_exchange_is_stored_before_the_end_is_told() -> None:
    held = Held({"role": "user", "content": "older"}, {"role": "assistant", "content": "answer"})
    turn = turn_of(held, {"role": "system", "content": "Be brief."}, QUESTION)
    assert [message.content for message in turn.request.messages] == ["Be brief.", "older", "answer", "Go."]
    told = []
    async with aclosing(turn.stored(pieces(*STREAM))) as stream:
        async for each in stream:
            if any(isinstance(event, Finish) for event in each):
                assert held.appended
            told.append(each)
    assert told == [each async for each in pieces(*STREAM)]
    assert held.appended == [([QUESTION, ANSWER], {"role": "system", "content": "Be brief."}, "m")]


BEGUN = {"role": "assistant", "content": "Dear "}


@pytest.mark.parametrize(
    ("by_default", "fields", "is_one"),
    [
        (False, {"continue_final_message": True}, True),
        (False, {}, False),
        (True, {}, True),
        (True, {"continue_final_message": False}, False),
        (True, {"add_generation_prompt": True}, False),
    ],
)
async def test_a_message_that_the_answer_continues_is_stored_as_one_with_it(
    *, by_default: bool, fields: dict[str, bool], is_one: bool
) -> None:
    held = Held()
    turn = SessionTurn(held, request(messages=[QUESTION, BEGUN], **fields), model="m", continues_by_default=by_default)
    async with aclosing(turn.stored(pieces(*STREAM))) as stream:
        async for _ in stream:
            pass
    ((stored, _, _),) = held.appended
    assert stored == [QUESTION, *([{**ANSWER, "content": "Dear Hello Anna"}] if is_one else [BEGUN, ANSWER])]


async def test_a_message_with_calls_is_not_continued() -> None:
    held = Held()
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    async with aclosing(turn_of(held, QUESTION, asked, continue_final_message=True).stored(pieces(*STREAM))) as stream:
        async for _ in stream:
            pass
    assert [message["role"] for message in held.appended[0][0]] == ["user", "assistant", "assistant"]


async def test_pieces_are_passed_on_as_they_come() -> None:
    turn = turn_of(Held())
    more = asyncio.Event()

    async def slow() -> AsyncIterator[Piece]:
        yield piece(delta(content="Hello "))
        await more.wait()
        yield piece(delta("stop"))

    async with aclosing(turn.stored(slow())) as stream:
        assert await anext(stream) == piece(delta(content="Hello "))
        more.set()
        assert await anext(stream) == piece(delta("stop"))


async def test_of_several_choices_the_first_is_stored_when_all_have_ended() -> None:
    held = Held()

    def choice(index: int, finish_reason: str | None = None, **fields: Any) -> Chunk:
        chunk = delta(finish_reason, **fields)
        chunk["choices"][0]["index"] = index
        return chunk

    events = [
        choice(1, content="no"),
        choice(0, content="yes"),
        choice(0, "stop"),
        choice(1, content="!"),
        choice(1, "stop"),
    ]
    async with aclosing(turn_of(held, n=2).stored(pieces(*events))) as stream:
        stored_before = [bool(held.appended) async for _ in stream]
    assert stored_before == [False, False, False, False, True]
    assert held.appended[0][0] == [QUESTION, {"role": "assistant", "content": "yes"}]


async def test_an_answer_that_breaks_off_is_not_stored() -> None:
    held = Held()

    async def broken() -> AsyncIterator[Piece]:
        yield piece(delta(content="Hello "))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        async for _ in turn_of(held).stored(broken()):
            pass
    assert not held.appended


async def test_a_client_that_leaves_in_the_middle_leaves_nothing() -> None:
    held = Held()
    async with aclosing(turn_of(held).stored(pieces(*STREAM))) as stream:
        await anext(stream)
    assert not held.appended


async def test_a_client_that_leaves_while_it_is_written_leaves_all() -> None:
    held = Held()
    held.may_write.clear()
    work = asyncio.create_task(read_all(turn_of(held)))
    await held.is_writing.wait()
    work.cancel()
    await asyncio.sleep(0)
    assert not work.done()  # the session is held until it is over
    held.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert held.appended == [([QUESTION, ANSWER], None, "m")]


async def test_an_end_that_cannot_be_stored_is_not_told() -> None:
    held = Held()
    held.error = DatabaseUnavailable("The disk is full.")
    told: list[Piece] = []

    async def read() -> None:
        async for each in turn_of(held).stored(pieces(*STREAM)):
            told.append(each)  # noqa: PERF401 (what came before the error counts)

    with pytest.raises(DatabaseUnavailable):
        await read()
    assert text_in(told) == "Hello Anna"
    assert not any(isinstance(event, Finish) for each in told for event in each)


async def test_calls_for_the_client_are_stored_whole() -> None:
    held = Held()
    events = [delta(role="assistant", content=None), *called("weather", '{"city": "Rome"}'), delta("tool_calls")]
    async for _ in turn_of(held).stored(pieces(*[event for event in events if isinstance(event, dict)])):
        pass
    (_, answer), _, _ = held.appended[0]
    assert answer["content"] is None
    assert answer["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}


# What the turns of a tool loop add.


async def read_all(session: SessionTurn) -> None:
    async with aclosing(session.stored(pieces(*STREAM))) as told:
        async for _ in told:
            pass


async def transcript(loop: ToolLoop, **fields: Any) -> list[Message]:
    async with aclosing(loop.run(request(**fields))) as told:
        async for _ in told:
            pass
    return [message_json(message) for message in loop.transcript]


def shape(messages: Sequence[Message]) -> list[tuple[str, Any, list[str]]]:
    return [
        (
            message["role"],
            message.get("content"),
            [call["function"]["name"] for call in message.get("tool_calls", ())],
        )
        for message in messages
    ]


async def test_calls_of_the_host_are_stored_with_their_results() -> None:
    model = Model(turn(said("I look."), called("look")), turn(called("ask")), turn(said("Done.")))
    loop = loop_of(model, Tools(look=takes(0, "seen"), ask=takes(0, "heard")))
    held = Held()
    session = turn_of(held)
    session.follow(loop)
    assert shape(await transcript(loop)) == [
        ("assistant", "I look.", ["look"]),
        ("tool", "seen", []),
        ("assistant", None, ["ask"]),
        ("tool", "heard", []),
        ("assistant", "Done.", []),
    ]
    await read_all(session)
    (stored, _, _) = held.appended[0]
    assert [message["role"] for message in stored] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert stored[2]["tool_call_id"] == stored[1]["tool_calls"][0]["id"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: loop_of(
                Model(turn(said("a"), called("look")), turn(said("b"), called("look", '{"n": 2}'))), looks(), turns=2
            ),
            [("assistant", "a", ["look"]), ("tool", "seen", []), ("assistant", "b", [])],
        ),
        (
            lambda: loop_of(Model(*(turn(said("a"), called("look")) for _ in range(2))), looks(), same_call=2),
            [("assistant", "a", ["look"]), ("tool", "seen", []), ("assistant", "a", [])],
        ),
        (
            lambda: loop_of(
                Model(turn(called("look")), turn(called("look", '{"n": 2}'), called("look", index=1))),
                looks(),
                same_call=2,
            ),
            [
                ("assistant", None, ["look"]),
                ("tool", "seen", []),
                ("assistant", None, ["look"]),
                ("tool", "seen", []),
                ("assistant", "", []),
            ],
        ),
        (
            lambda: loop_of(
                Model(*(turn(called("bad")) for _ in range(2))), Tools(bad=fails("invalid_arguments")), same_call=9
            ),
            [("assistant", None, ["bad"]), ("tool", "no", []), ("assistant", "bad {}", [])],
        ),
        (
            lambda: loop_of(Model(turn(said("b"), called("slow"))), Tools(slow=takes(60)), seconds=0.05),
            [("assistant", "b", [])],
        ),
    ],
    ids=["turn limit", "repeated call", "one of two calls repeated", "malformed twice", "time limit"],
)
async def test_no_call_without_a_result_is_stored_however_the_host_ends_the_loop(
    make: Callable[[], ToolLoop], expected: Any
) -> None:
    assert shape(await transcript(make())) == expected


async def test_calls_over_the_budget_keep_their_results() -> None:
    loop = loop_of(Model(turn(said("a"), called("look"))), looks())
    assert shape(await transcript(loop, max_tokens=2)) == [
        ("assistant", "a", ["look"]),
        ("tool", "seen", []),
        ("assistant", "", []),
    ]


def looks() -> Tools:
    return Tools(look=takes(0, "seen"))
