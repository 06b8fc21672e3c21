"""A call that has to be made: JSON as text in, deltas of a tool call out."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.tools.tool_choice import ForcedCallRewriter
from modelhost.engines.llamacpp.grammars import schema_of
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.events import Finish, ToolCallPiece
from modelhost.exchange.whole_answer import WholeAnswer


def message_of(text: str, cuts: list[int], finish_reason: str = "stop") -> dict[str, Any]:
    """Rewrite ``text``, cut into pieces, and put the answer together."""
    ends = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(ends)]
    call, answer, reader = ForcedCallRewriter(), WholeAnswer(), ChunkReader()
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}, *({"content": each} for each in pieces)]
    for delta in deltas:
        answer.add(call.rewrite(reader.read({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})))
    answer.add(call.rewrite(reader.read({"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]})))
    (choice,) = answer.json()["choices"]
    return {**choice["message"], "finish_reason": choice["finish_reason"]}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
CUTS = st.lists(st.integers(0, 80), max_size=12)


@given(
    name=st.text(min_size=1, max_size=9),
    arguments=st.dictionaries(st.text(max_size=4), VALUES, max_size=3),
    cuts=CUTS,
    indent=st.sampled_from([None, 1]),
)
def test_the_call_is_the_same_however_its_text_is_cut(
    name: str, arguments: dict[str, Any], cuts: list[int], indent: int | None
) -> None:
    message = message_of(json.dumps({"name": name, "arguments": arguments}, indent=indent), cuts)
    assert message["content"] is None
    assert message["finish_reason"] == "tool_calls"
    (call,) = message["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["function"]["name"] == name
    assert json.loads(call["function"]["arguments"]) == arguments
    assert call["function"]["arguments"] == call["function"]["arguments"].strip()


@given(cuts=CUTS, length=st.integers(28, 50))
def test_a_call_that_is_cut_off_keeps_what_there_is_of_it(cuts: list[int], length: int) -> None:
    text = '{"name": "f", "arguments": {"a": {"b": 1}, "c": "dddddddd"}}'[:length]
    message = message_of(text, cuts, "length")
    assert message["finish_reason"] == "length"
    assert message["tool_calls"][0]["function"]["arguments"] == text[27:]


@pytest.mark.parametrize("finish_reason", ["length", "stop"])
def test_what_is_cut_before_there_is_a_call_is_no_text(finish_reason: str) -> None:
    message = message_of('{"name": "get_w', [3, 5], finish_reason)
    assert message == {"role": "assistant", "content": "", "finish_reason": finish_reason}


@pytest.mark.parametrize(
    ("text", "finish_reason", "says_so"),
    [("I do not know.", "stop", True), ("I do", "length", False), ('{"name": "f", "arguments": {}}', "stop", False)],
)
def test_an_answer_that_ends_by_itself_without_a_call_says_so(text: str, finish_reason: str, *, says_so: bool) -> None:
    call, reader = ForcedCallRewriter(), ChunkReader()
    call.rewrite(reader.read({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}))
    piece = call.rewrite(reader.read({"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]}))
    (end,) = [event for event in piece if isinstance(event, Finish)]
    assert (end.details is not None and end.details.kind == "schema_violated") is says_so


@given(cuts=CUTS)
def test_no_piece_has_two_parts_of_a_call(cuts: list[int]) -> None:
    text = '{"name": "f", "arguments": {"a": 1}}'
    ends = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    call, reader = ForcedCallRewriter(), ChunkReader()
    for begin, end in itertools.pairwise(ends):
        delta = {"content": text[begin:end]}
        piece = call.rewrite(reader.read({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
        assert sum(isinstance(event, ToolCallPiece) for event in piece) <= 1


def tool(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def test_the_schema_of_one_tool_fixes_its_name() -> None:
    schema = schema_of([tool("f", {"properties": {"x": {"type": "integer"}}})])
    assert schema is not None
    assert list(schema["properties"]) == ["name", "arguments"]
    assert schema["properties"]["name"] == {"const": "f"}
    assert schema["properties"]["arguments"] == {"type": "object", "properties": {"x": {"type": "integer"}}}


def test_the_schema_of_several_tools_leaves_the_choice_among_them() -> None:
    schema = schema_of([tool("f"), tool("g")])
    assert schema is not None
    assert [each["properties"]["name"]["const"] for each in schema["anyOf"]] == ["f", "g"]


def test_what_tools_refer_to_becomes_what_the_whole_refers_to() -> None:
    parameters = {
        "properties": {"x": {"$ref": "#/$defs/y"}, "default": {"$ref": "#/$defs/y"}, "z": {"const": {"$ref": "z"}}},
        "$defs": {"y": {"enum": [1], "description": "first"}},
    }
    other = {"properties": {"x": {"$ref": "#/$defs/y"}}, "$defs": {"y": {"items": {"$ref": "#/$defs/y"}}}}
    schema = schema_of([tool("f", parameters), tool("g", other)])
    one, two = (each["properties"]["arguments"] for each in schema["anyOf"])
    assert one["properties"] == {
        "x": {"$ref": "#/$defs/0.y"},
        "default": {"$ref": "#/$defs/0.y"},
        "z": {"const": {"$ref": "z"}},
    }
    assert two["properties"] == {"x": {"$ref": "#/$defs/1.y"}}
    assert schema["$defs"] == {
        "0.y": {"enum": [1], "description": "first"},
        "1.y": {"items": {"$ref": "#/$defs/1.y"}},
    }
    assert "$defs" not in one
