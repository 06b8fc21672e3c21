"""Which messages of a request are new to its session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from modelhost.chat.sessions import Continuation
from modelhost.chat.sessions import merge_history as continued_typed
from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import message_json, messages_of

Message = dict[str, Any]


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: Any) -> Message:
    return {"role": "user", "content": text}


def said(text: str | None, *calls: str, **more: Any) -> Message:
    made = [{"id": f"id-{name}", "type": "function", "function": {"name": name, "arguments": "{}"}} for name in calls]
    return {"role": "assistant", "content": text, **({"tool_calls": made} if made else {}), **more}


def result(name: str, text: str) -> Message:
    return {"role": "tool", "tool_call_id": f"id-{name}", "content": text}


TEXT = [{"type": "text", "text": "I am Anna."}]
HISTORY = [user("I am Anna."), said("Hello Anna!")]


class Continued:
    """A continuation in the words of OpenAI's API."""

    def __init__(self, found: Continuation) -> None:
        self.system = None if found.system is None else message_json(found.system)
        self.new = tuple(map(message_json, found.new))
        self.conversation = tuple(map(message_json, found.conversation))


def merge_history(stored: Sequence[Message], given: Sequence[Message]) -> Continued:
    return Continued(continued_typed(messages_of(stored), messages_of(given)))


def new(stored: list[Message], *given: Message) -> list[Any]:
    return list(merge_history(stored, given).new)


def test_the_first_request_is_all_new() -> None:
    found = merge_history([], [system("Be brief."), user("Hi")])
    assert (found.system, found.new) == (system("Be brief."), (user("Hi"),))
    assert found.conversation == (system("Be brief."), user("Hi"))


def test_what_is_new_is_asked_after_the_history() -> None:
    found = merge_history([system("Be brief."), *HISTORY], [user("Who am I?")])
    assert found.new == (user("Who am I?"),)
    assert found.system is None
    assert found.conversation == (system("Be brief."), *HISTORY, user("Who am I?"))


def test_a_system_message_takes_the_place_of_the_stored_one() -> None:
    found = merge_history([system("Be brief."), *HISTORY], [system("Be long."), user("Who am I?")])
    assert found.system == system("Be long.")
    assert found.conversation == (system("Be long."), *HISTORY, user("Who am I?"))


def test_several_system_messages_at_the_beginning_become_one() -> None:
    developer = {"role": "developer", "content": [{"type": "text", "text": "In rhymes."}]}
    found = merge_history([], [system("Be brief."), developer, user("Hi")])
    assert found.system == system("Be brief.\n\nIn rhymes.")


@pytest.mark.parametrize(
    "everything",
    [
        HISTORY,
        [system("Be brief."), *HISTORY],
        [user("older"), said("and cut off in the session"), *HISTORY],
        [user(TEXT), said("Hello Anna! \n", refusal=None, annotations=[])],
    ],
    ids=["plain", "with a system message", "with what the session no longer has", "written in another way"],
)
def test_of_a_client_that_sends_everything_only_the_end_is_new(everything: list[Message]) -> None:
    assert new(HISTORY, *everything, user("Who am I?")) == [user("Who am I?")]


def test_the_last_run_counts() -> None:
    assert new(HISTORY, *HISTORY, *HISTORY, user("Again?")) == [user("Again?")]


@pytest.mark.parametrize(
    "given",
    [
        [user("I am Anna.")],
        [user("I am Anna."), said("Hello Berta!"), user("Who am I?")],
        [HISTORY[1], HISTORY[0], user("Who am I?")],
        [user([{"type": "image_url", "image_url": {"url": "data:"}}, *TEXT]), HISTORY[1], user("Who am I?")],
    ],
    ids=["the beginning alone", "changed", "in another order", "with a picture"],
)
def test_what_only_looks_like_the_conversation_is_new(given: list[Message]) -> None:
    assert new(HISTORY, *given) == given


def test_calls_that_the_host_made_are_not_in_what_a_client_sends() -> None:
    stored = [
        user("The weather?"),
        said("I look.", "weather"),
        result("weather", "sunny"),
        said("It is sunny."),
        user("And tomorrow?"),
        said(None, "weather"),
        result("weather", "rain"),
        said("It rains."),
    ]
    seen = [user("The weather?"), said("I look. It is sunny."), user("And tomorrow?"), said("It rains.")]
    assert new(stored, *seen, user("Thanks")) == [user("Thanks")]


def test_calls_that_the_client_makes_are_in_what_it_sends() -> None:
    stored = [user("The weather?"), said(None, "weather")]
    assert new(stored, result("weather", "sunny")) == [result("weather", "sunny")]
    assert new(stored, *stored, result("weather", "sunny")) == [result("weather", "sunny")]
    written_differently = said("", "weather")
    written_differently["tool_calls"][0]["function"]["arguments"] = " { } "
    assert new(stored, stored[0], written_differently, result("weather", "rain")) == [result("weather", "rain")]


def test_of_both_kinds_of_calls_those_of_the_client_are_in_what_it_sends() -> None:
    stored = [
        user("The weather?"),
        said("I look.", "weather"),
        result("weather", "sunny"),
        said(None, "mine"),
    ]
    seen = [user("The weather?"), said("I look.", "mine")]
    assert new(stored, result("mine", "ok")) == [result("mine", "ok")]
    assert new(stored, *seen, result("mine", "ok")) == [result("mine", "ok")]
    stored += [result("mine", "ok"), said(None, "weather"), result("weather", "rain"), said("It rains.")]
    seen += [result("mine", "ok"), said("It rains.")]
    assert new(stored, *seen, user("Thanks")) == [user("Thanks")]


@pytest.mark.parametrize("arguments", ["{", "[" * 300 + "]" * 300, '{"a": 1180591620717411303424}'])
def test_arguments_that_are_no_json_are_compared_as_they_are(arguments: str) -> None:
    broken = said(None, "weather")
    broken["tool_calls"][0]["function"]["arguments"] = arguments
    assert new([user("?"), broken], user("?"), broken, result("weather", "no")) == [result("weather", "no")]


@pytest.mark.parametrize("given", [HISTORY, [system("Be brief.")], [system("Be brief."), *HISTORY]], ids=len)
def test_a_request_that_adds_nothing_is_refused(given: list[Message]) -> None:
    with pytest.raises(InvalidRequest, match="new to the session") as caught:
        merge_history(HISTORY, given)
    assert caught.value.param == "messages"
