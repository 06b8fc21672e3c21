"""Calls of custom tools, out of those of functions with one text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.tools.custom_calls import CustomCallRewriter, InputReader, RawInputRewriter, call_opening
from modelhost.errors import InvalidRequest
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.chunks import chunk_of
from modelhost.exchange.requests import InputFormat
from modelhost.exchange.whole_answer import WholeAnswer

INPUTS = {"code": InputFormat(), "pick": InputFormat(kind="regex", definition="a|b")}
CUTS = st.lists(st.integers(0, 200), max_size=12)


def cut(text: str, cuts: Sequence[int]) -> list[str]:
    ends = sorted({at % (len(text) + 1) for at in cuts} | {0, len(text)})
    return [text[begin:end] for begin, end in itertools.pairwise(ends)]


def entry(arguments: str, name: str | None = None, index: int = 0) -> dict[str, Any]:
    if name is None:
        return {"index": index, "function": {"arguments": arguments}}
    return {
        "index": index,
        "id": f"c{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def rewritten(deltas: Sequence[dict[str, Any]], finish_reason: str = "tool_calls") -> list[dict[str, Any]]:
    """The chunks that a client gets."""
    calls, reader = CustomCallRewriter(INPUTS), ChunkReader()
    given = [*(chunk(delta) for delta in deltas), chunk({}, finish_reason)]
    return [chunk_of(calls.rewrite(reader.read(each))) for each in given]


def whole(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    answer, reader = WholeAnswer(), ChunkReader()
    for each in chunks:
        answer.add(reader.read(each))
    return answer.json()


def answer_of(arguments: str, cuts: Sequence[int] = (), name: str = "code", finish_reason: str = "tool_calls") -> Any:
    entries = [entry("", name), *map(entry, cut(arguments, cuts))]
    return whole(rewritten([{"tool_calls": [each]} for each in entries], finish_reason))


def input_of(answer: dict[str, Any]) -> str:
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert (call["id"], call["type"]) == ("c0", "custom")
    text: str = call["custom"]["input"]
    return text


@given(cuts=CUTS)
@pytest.mark.parametrize("arguments", ["", "{", '{"inp', '{"input":', ' { "input" : "'])
def test_what_is_cut_before_its_input_has_none(arguments: str, cuts: list[int]) -> None:
    assert not input_of(answer_of(arguments, cuts, finish_reason="length"))


@pytest.mark.parametrize(
    ("arguments", "finish_reason"), [('{"inp', "stop"), ('{"out', "length"), ("inp", "length")], ids=str
)
def test_what_is_no_beginning_of_an_input_is_one_as_it_is(arguments: str, finish_reason: str) -> None:
    assert input_of(answer_of(arguments, finish_reason=finish_reason)) == arguments


@given(text=st.text(), cuts=CUTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_the_input_is_the_same_however_its_arguments_are_written_and_cut(
    text: str, cuts: list[int], ascii_only: bool, indent: int | None
) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=indent)
    answer = answer_of(arguments, cuts)
    assert input_of(answer) == text
    assert "modelhost.finish_details" not in answer


@given(text=st.text(), cuts=CUTS)
def test_what_is_told_of_an_input_is_never_taken_back(text: str, cuts: list[int]) -> None:
    reading, told = InputReader(), ""
    for piece in cut(json.dumps({"input": text}), cuts):
        told += reading.feed(piece)
        assert text.startswith(told)
    assert told == text


def test_the_input_comes_piece_by_piece() -> None:
    entries = [entry("", "code"), *map(entry, ['{"input"', ': "a', "b\\", "nc", '"', "}"])]
    deltas = [each["choices"][0]["delta"] for each in rewritten([{"tool_calls": [each]} for each in entries])]
    told = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert told[0] == {"index": 0, "id": "c0", "type": "custom", "custom": {"name": "code", "input": ""}}
    assert told[1:] == [{"index": 0, "custom": {"input": text}} for text in ("a", "b", "\nc")]
    assert len(deltas) == len(entries) + 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ""),
        ("{}", ""),
        ('{"other": 1}', '{"other": 1}'),
        ('{"input": 7}', '{"input": 7}'),
        ("no json", "no json"),
        ('{"other": 1, "input": "x"}', "x"),
        ('{"input": "x", "other": 1}', "x"),
        (r'{"input": "\ud83d x"}', "\ufffd x"),
        (r'{"input": "a\x b"}', r"a\x b"),
    ],
)
@pytest.mark.parametrize("is_whole", [False, True])
def test_arguments_of_another_form_are_told_and_said_to_be_so(arguments: str, expected: str, *, is_whole: bool) -> None:
    if is_whole:  # as an engine has it that answers at once
        calls = CustomCallRewriter(INPUTS)
        piece = ChunkReader().read(chunk({"tool_calls": [entry(arguments, "code")]}, "tool_calls"))
        told = chunk_of(calls.rewrite(piece))
        assert len(told["choices"][0]["delta"]["tool_calls"]) == 1
        answer = whole([told])
    else:
        answer = answer_of(arguments, [3, 9])
    assert input_of(answer) == expected
    if "\\ud83d" not in arguments:
        assert answer["modelhost.finish_details"]["type"] == "schema_violated"


@pytest.mark.parametrize(
    ("cut_off", "expected"), [('"ab', "ab"), (r'"ab\u00', "ab"), (r'"ab\ud83d\ud', "ab"), ("", "")]
)
def test_an_input_that_is_cut_off_keeps_what_can_be_read_of_it(cut_off: str, expected: str) -> None:
    answer = answer_of(f'{{"input": {cut_off}' if cut_off else "", finish_reason="length")
    assert input_of(answer).rstrip("\ufffd") == expected
    assert "modelhost.finish_details" not in answer


@pytest.mark.parametrize(("text", "fits"), [("a", True), ("b", True), ("ab", False), ("a\n", False), ("", False)])
def test_an_input_is_held_against_its_regular_expression(text: str, *, fits: bool) -> None:
    answer = answer_of(json.dumps({"input": text}), name="pick")
    assert input_of(answer) == text
    details = answer.get("modelhost.finish_details", {})
    assert details.get("type") == (None if fits else "schema_violated")
    assert fits or '"pick"' in details["message"]


def test_calls_of_functions_beside_custom_ones_stay_as_they_are() -> None:
    entries = [
        entry("", "f"),
        entry("", "code", 1),
        entry('{"input":', index=1),
        entry('{"input": "x"}'),
        entry('"y"}', index=1),
    ]
    message = whole(rewritten([{"tool_calls": [each]} for each in entries]))["choices"][0]["message"]
    assert message["tool_calls"] == [
        {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"input": "x"}'}},
        {"id": "c1", "type": "custom", "custom": {"name": "code", "input": "y"}},
    ]


def raw(text: str, cuts: Sequence[int], finish_reason: str = "stop") -> dict[str, Any]:
    call, reader = RawInputRewriter("code"), ChunkReader()
    given = [*(chunk({"content": each}) for each in cut(text, cuts)), chunk({}, finish_reason)]
    return whole([chunk_of(call.rewrite(reader.read(each))) for each in given])["choices"][0]


@given(text=st.text(), cuts=CUTS)
def test_an_input_that_is_not_quoted_is_the_call(text: str, cuts: list[int]) -> None:
    choice = raw(call_opening("code") + text, cuts)
    (call,) = choice["message"]["tool_calls"]
    assert call["id"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "code", "input": text})
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None


def test_what_is_cut_before_there_is_an_input_is_no_text() -> None:
    choice = raw(call_opening("code")[:9], [3], "length")
    assert choice["message"] == {"role": "assistant", "content": ""}
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize("text", ["Hello!", call_opening("other"), 'Call of "code" with this'[:-4] + "that"])
def test_an_answer_without_the_opening_was_not_bound_by_the_grammar(text: str) -> None:
    with pytest.raises(InvalidRequest, match='grammar of "code"'):
        raw(text, [4])
