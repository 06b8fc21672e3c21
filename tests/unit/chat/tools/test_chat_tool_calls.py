"""Calls put together from the pieces of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.tools.calls import CallCollector, RequestedCall
from modelhost.exchange.events import ToolCallPiece
from modelhost.exchange.messages import call_json


def piece(index: int, text: str = "") -> ToolCallPiece:
    return ToolCallPiece(index=index, arguments=text)


def named(index: int, name: str, text: str = "") -> ToolCallPiece:
    return ToolCallPiece(index=index, id=f"call-{index}", name=name, arguments=text)


def test_call_is_complete_when_the_next_one_begins() -> None:
    collector = CallCollector()
    assert collector.add(named(0, "a", '{"x"')) == []
    assert collector.add(piece(0, ": 1}")) == []
    (first,) = collector.add(named(1, "b"))
    assert (first.id, first.name, first.arguments) == ("call-0", "a", '{"x": 1}')
    assert [call.name for call in collector.end()] == ["b"]
    assert collector.end() == []


def test_calls_before_the_one_that_begins_are_complete() -> None:
    collector = CallCollector()
    found = [call for each in (named(0, "a"), named(2, "c")) for call in collector.add(each)]
    assert [call.name for call in found] == ["a", ""]
    assert [call.name for call in collector.end()] == ["c"]


def test_call_without_an_id_gets_one_of_its_own() -> None:
    collector = CallCollector()
    for index in (0, 1):
        collector.add(ToolCallPiece(index=index, name="a"))
    first, second = collector.calls
    assert first.id.startswith("call_")
    assert first.id != second.id


def test_answer_without_calls_has_none() -> None:
    assert CallCollector().end() == []


def test_call_as_a_message_and_as_values() -> None:
    assert call_json(RequestedCall(id="1", name="a").in_message())["function"] == {"name": "a", "arguments": "{}"}
    assert RequestedCall(id="1", name="a").decoded() == {}
    assert RequestedCall(id="1", name="a", arguments='{"x": [1]}').decoded() == {"x": [1]}
    assert RequestedCall(id="1", name="a", arguments='{"x": ').decoded() == '{"x": '


@given(st.lists(st.text(min_size=1), max_size=4), st.lists(st.integers(1, 5), min_size=1, max_size=20))
def test_calls_do_not_depend_on_how_they_are_cut(arguments: list[str], cuts: list[int]) -> None:
    collector = CallCollector()
    given_out: list[RequestedCall] = []
    for index, text in enumerate(arguments):
        given_out += collector.add(named(index, f"tool-{index}"))
        position = 0
        while position < len(text):
            length = cuts[position % len(cuts)]
            given_out += collector.add(piece(index, text[position : position + length]))
            position += length
    given_out += collector.end()
    assert [(call.name, call.arguments) for call in given_out] == [
        (f"tool-{index}", text) for index, text in enumerate(arguments)
    ]


@pytest.mark.parametrize(
    "arguments", ["[" * 5000 + "]" * 5000, "[" * 300 + "]" * 300, '{"a": "\\ud83d"}', '{"a": NaN}']
)
def test_arguments_that_cannot_be_passed_on_are_shown_as_the_text_that_they_are(arguments: str) -> None:
    assert RequestedCall(id="1", name="a", arguments=arguments).decoded() == arguments
