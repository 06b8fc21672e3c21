"""What stays of a conversation that is over its limit."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelhost.state.records import system_and_rest
from modelhost.state.stored_session import trim

SYSTEM = {"role": "system", "content": "Be brief."}
Conversation = list[dict[str, Any]]


def user(text: str = "?") -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str = "!") -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def exchange(number: int, calls: int) -> Conversation:
    ids = [f"{number}.{call}" for call in range(calls)]
    return [
        {"role": "assistant", "tool_calls": [{"id": name} for name in ids]},
        *({"role": "tool", "tool_call_id": name, "content": "x"} for name in ids),
    ]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Any order of users' messages, answers and exchanges with tools, each message once."""
    made: Conversation = [SYSTEM] * draw(st.integers(0, 2))
    for number, kind in enumerate(draw(st.lists(st.sampled_from("uuaat"), max_size=25))):
        if kind == "t":
            made += exchange(number, draw(st.integers(1, 5)))
        else:
            made.append(user(f"{number}") if kind == "u" else assistant(f"{number}"))
    return made


LIMITS = st.integers(2, 30)


@given(conversations(), LIMITS)
def test_what_stays_is_in_order_with_the_system_messages_and_the_newest_message(
    messages: Conversation, limit: int
) -> None:
    kept = trim(messages, limit)
    places = iter(messages)
    assert all(any(message is other for other in places) for message in kept)
    assert kept[-1:] == tuple(messages[-1:])
    system, _ = system_and_rest(messages)
    assert kept[: len(system)] == tuple(system)


@given(conversations(), LIMITS)
def test_an_exchange_with_tools_stays_whole_or_goes_whole(messages: Conversation, limit: int) -> None:
    kept = trim(messages, limit)
    called = {call["id"] for message in kept for call in message.get("tool_calls", ())}
    answered = {message["tool_call_id"] for message in kept if message["role"] == "tool"}
    assert called == answered


@given(conversations(), LIMITS)
def test_nothing_is_over_the_limit_but_an_exchange_that_alone_is(messages: Conversation, limit: int) -> None:
    kept = trim(messages, limit)
    if len(kept) > limit:
        rest = system_and_rest(kept)[1]
        question = 1 if rest[0]["role"] == "user" else 0
        answer = rest[question:]
        assert all(message["role"] == "tool" for message in answer[1:])


@given(conversations(), LIMITS)
def test_the_rest_begins_with_a_user_where_there_is_one(messages: Conversation, limit: int) -> None:
    kept = trim(messages, limit)
    if len(kept) < len(messages) and any(message["role"] == "user" for message in messages):
        assert system_and_rest(kept)[1][0]["role"] == "user"


@given(conversations(), LIMITS)
def test_cutting_twice_cuts_nothing_more(messages: Conversation, limit: int) -> None:
    once = trim(messages, limit)
    assert trim(once, limit) == once


def test_whole_turns_go() -> None:
    messages = [SYSTEM, user("1"), assistant(), user("2"), *exchange(2, 2), assistant(), user("3"), assistant()]
    assert trim(messages, 9) == (SYSTEM, *messages[3:])
    assert trim(messages, 7) == (SYSTEM, *messages[-2:])
    assert trim(messages, len(messages)) == tuple(messages)


def test_of_a_turn_that_alone_is_too_long_question_and_newest_parts_stay() -> None:
    messages = [user("0"), assistant(), user("1"), *exchange(1, 2), *exchange(2, 2), *exchange(3, 1), assistant("end")]
    assert trim([SYSTEM, *messages], 6) == (SYSTEM, user("1"), *exchange(3, 1), assistant("end"))


def test_one_exchange_that_is_over_the_limit_stays_whole() -> None:
    messages = [SYSTEM, user("0"), assistant(), user("1"), *exchange(1, 9)]
    assert trim(messages, 4) == (SYSTEM, user("1"), *exchange(1, 9))
