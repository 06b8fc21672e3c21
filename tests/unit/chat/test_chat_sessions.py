"""One request in a session: what is stored of it, and when the client is told the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from modelhost.chat.continuing import Message
from modelhost.chat.loop import ToolLoop
from modelhost.chat.relay import DONE_EVENT, encode_event
from modelhost.chat.sessions import SessionTurn, is_in_session
from modelhost.errors import DatabaseUnavailable
from tests.support.loop_world import Chunk, Model, Tools, called, delta, fails, loop_of, said, takes, turn

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
    return SessionTurn(held, {"messages": list(messages or [QUESTION]), **fields}, model="m")


async def blocks(*events: Chunk | bytes) -> AsyncIterator[bytes]:
    for event in events:
        await asyncio.sleep(0)
        yield event if isinstance(event, bytes) else encode_event(event)


STREAM: tuple[Chunk | bytes, ...] = (
    delta(role="assistant", content=None),
    delta(content="Hello "),
    delta(content="Anna", reasoning_content="hm"),
    delta("stop"),
    {**delta(), "choices": [], "usage": {"total_tokens": 3}},
    DONE_EVENT,
)


@pytest.mark.parametrize(
    ("operation", "body", "expected"),
    [
        ("chat", {"session_id": "s"}, True),
        ("chat", {"session_id": 5}, True),  # to be refused where requests are checked
        ("chat", {"session_id": None}, False),
        ("chat", {}, False),
        ("chat", [], False),
        ("completions", {"session_id": "s"}, False),
    ],
)
def test_only_a_chat_with_a_session_id_is_in_a_session(operation: str, body: Any, expected: bool) -> None:
    assert is_in_session(operation, body) is expected


async def test_the_exchange_is_stored_before_the_end_is_told() -> None:
    held = Held({"role": "user", "content": "older"}, {"role": "assistant", "content": "answer"})
    turn = turn_of(held, {"role": "system", "content": "Be brief."}, QUESTION)
    assert [message["content"] for message in turn.body["messages"]] == ["Be brief.", "older", "answer", "Go."]
    told = b""
    async with aclosing(turn.told(blocks(*STREAM))) as stream:
        async for block in stream:
            if b'finish_reason":"stop' in block or b"[DONE]" in block:
                assert held.appended
            told += block
    assert told == b"".join([block async for block in blocks(*STREAM)])
    assert held.appended == [([QUESTION, ANSWER], {"role": "system", "content": "Be brief."}, "m")]


async def test_pieces_are_passed_on_as_they_come() -> None:
    turn = turn_of(Held())
    more = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield encode_event(delta(content="Hello "))
        await more.wait()
        yield encode_event(delta("stop"))

    async with aclosing(turn.told(slow())) as stream:
        assert b"Hello" in await anext(stream)
        more.set()
        assert b"stop" in await anext(stream)


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
    async with aclosing(turn_of(held, n=2).told(blocks(*events, DONE_EVENT))) as stream:
        stored_before = [bool(held.appended) async for _ in stream]
    assert stored_before == [False, False, False, False, True, True]
    assert held.appended[0][0] == [QUESTION, {"role": "assistant", "content": "yes"}]


async def test_an_answer_that_breaks_off_is_not_stored() -> None:
    held = Held()

    async def broken() -> AsyncIterator[bytes]:
        yield encode_event(delta(content="Hello "))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        async for _ in turn_of(held).told(broken()):
            pass
    assert not held.appended


async def test_a_client_that_leaves_in_the_middle_leaves_nothing() -> None:
    held = Held()
    async with aclosing(turn_of(held).told(blocks(*STREAM))) as stream:
        await anext(stream)
    assert not held.appended


async def test_a_client_that_leaves_while_it_is_written_leaves_all() -> None:
    held = Held()
    held.may_write.clear()
    work = asyncio.create_task(turn_of(held).store({"choices": [{"message": ANSWER}]}))
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
    told: list[bytes] = []

    async def read() -> None:
        async for block in turn_of(held).told(blocks(*STREAM)):
            told.append(block)  # noqa: PERF401 (what came before the error counts)

    with pytest.raises(DatabaseUnavailable):
        await read()
    assert b"Hello" in b"".join(told)
    assert b"[DONE]" not in b"".join(told)


async def test_calls_for_the_client_are_stored_whole() -> None:
    held = Held()
    events = [delta(role="assistant", content=None), *called("weather", '{"city": "Rome"}'), delta("tool_calls")]
    async for _ in turn_of(held).told(blocks(*[event for event in events if isinstance(event, dict)], DONE_EVENT)):
        pass
    (_, answer), _, _ = held.appended[0]
    assert answer["content"] is None
    assert answer["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}


# What the turns of a tool loop add.


def loop_body() -> dict[str, Any]:
    return {"messages": [QUESTION], "tools": [{"type": "function"}]}


async def transcript(loop: ToolLoop, **fields: Any) -> list[Message]:
    async with aclosing(loop.run({**loop_body(), **fields})) as chunks:
        async for _ in chunks:
            pass
    return [*loop.transcript]


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
    await session.store({"choices": [{"message": {"role": "assistant", "content": "I look.Done."}}]})
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
