"""Tool calls of servers that number them as they like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from modelhost.chat.tools.calls import CallCollector
from modelhost.engines.remote.answers import RemoteCalls
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.events import ToolCallPiece

Entry = dict[str, Any]


def _piece(arguments: Any, name: str | None = None, **more: Any) -> Entry:
    return {"function": {"name": name, "arguments": arguments}, **more}


def _read(*entries: Entry) -> list[Entry]:
    calls = RemoteCalls()
    return [told for entry in entries for told in calls.read([entry])]


def _calls(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """The calls that a client puts together, by the index of each piece."""
    collector = CallCollector()
    delta = {"tool_calls": _read(*entries)}
    for event in ChunkReader().read({"choices": [{"index": 0, "delta": delta}]}):
        assert isinstance(event, ToolCallPiece)
        collector.add(event)
    ids = [call.id for call in collector.calls]
    assert len(set(ids)) == len(ids)
    return [(call.name, call.arguments) for call in collector.calls]


def _two(first: Entry, second: Entry, **later: Any) -> list[Entry]:
    return [
        _piece("", "get", **first),
        _piece('{"a":', **later),
        _piece("1}", **later),
        _piece("", "put", **second),
        _piece('{"b":', **later),
        _piece("{}}", **later),
    ]


TWO = [("get", '{"a":1}'), ("put", '{"b":{}}')]


@pytest.mark.parametrize(
    "entries",
    [
        _two({"index": 0, "id": "x"}, {"index": 0, "id": "y"}, index=0),
        _two({"index": 0, "id": "x"}, {"index": 0, "id": "x"}, index=0),
        _two({"index": 0}, {"index": 0}, index=0),
        _two({"index": None, "id": "x"}, {"index": None, "id": "y"}, index=None),
        _two({"index": None}, {"index": None}, index=None),
        _two({"id": "x"}, {"id": "y"}),
        _two({}, {}),
        _two({"index": 0, "id": ""}, {"index": 0, "id": ""}, index=0, id=""),
    ],
    ids=["all 0", "all 0, one id", "all 0, no ids", "null", "null, no ids", "none", "nothing", "empty ids"],
)
def test_parallel_calls_are_told_apart_without_indexes(entries: list[Entry]) -> None:
    assert _calls(entries) == TWO


def test_pieces_with_proper_indexes_may_be_mixed_and_keep_their_ids() -> None:
    told = _read(
        _piece("", "get", index=0, id="x"),
        _piece("", "put", index=1, id="y"),
        _piece('{"a":', index=0),
        _piece('{"b":', index=1),
        _piece("1}", index=0),
        _piece("{}}", index=1),
    )
    assert [piece["index"] for piece in told] == [0, 1, 0, 1, 0, 1]
    assert [piece.get("id") for piece in told] == ["x", "y", None, None, None, None]
    assert told[0] == {
        "index": 0, "id": "x", "type": "function", "function": {"name": "get", "arguments": ""}
    }  # fmt: skip
    assert told[2] == {"index": 0, "function": {"arguments": '{"a":'}}


def test_pieces_of_calls_that_are_all_number_0_are_told_apart_by_their_ids() -> None:
    assert _calls([
        _piece("", "get", index=0, id="x"),
        _piece("", "put", index=0, id="y"),
        _piece('{"a":1}', index=0, id="x"),
        _piece('{"b":{}}', index=0, id="y"),
    ]) == TWO  # fmt: skip


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a":1}'])
@pytest.mark.parametrize("more", [{}, {"index": 0}, {"index": None}, {"index": 0, "id": "same"}])
def test_calls_that_come_whole_are_told_apart_even_where_they_are_equal(arguments: Any, more: Entry) -> None:
    entries = [_piece(arguments, "get", **more) for _ in range(3)]
    assert _calls(entries) == [("get", '{"a":1}')] * 3


def test_arguments_that_are_an_object_are_told_as_text() -> None:
    (told,) = _read(_piece({"city": "Zürich", "days": [1, 2]}, "get", index=0, id="x"))
    assert told["function"]["arguments"] == '{"city":"Zürich","days":[1,2]}'


def test_calls_without_arguments_are_told_apart_by_their_names() -> None:
    assert _calls([_piece(None, "get"), _piece(None, "put")]) == [("get", ""), ("put", "")]


@pytest.mark.parametrize("repeated", [{"id": "x"}, {"name": "get"}, {"id": "x", "name": "get"}, {"id": "new"}])
def test_what_every_piece_repeats_begins_no_other_call(repeated: Entry) -> None:
    parts = ["", '{"a"', ":1}", ""]
    more = {"id": repeated["id"]} if "id" in repeated else {}
    entries = [_piece(part, repeated.get("name"), index=0, **more) for part in parts]
    entries[0] = _piece("", "get", index=0, id="x")
    if "name" in repeated and "id" not in repeated:
        entries.pop()
    assert _calls(entries) == [("get", '{"a":1}')]


def test_what_a_server_adds_to_a_call_stays() -> None:
    (told,) = _read(_piece("{}", "get", index=0, id="x", extra_content={"google": {"thought_signature": "s"}}))
    assert told["extra_content"] == {"google": {"thought_signature": "s"}}


def test_what_is_no_call_is_left_out() -> None:
    assert _read(None, "x") == []  # type: ignore[arg-type]


def test_calls_of_custom_tools_stay_what_they_are() -> None:
    first = {"name": "code", "input": ""}
    told = _read(
        {"index": 0, "id": "x", "type": "custom", "custom": first},
        {"index": 0, "custom": {"input": "{}"}},
        {"index": 0, "custom": {"input": "more"}},
        _piece("{}", "get", index=1, id="y"),
    )
    assert told[0] == {"index": 0, "id": "x", "type": "custom", "custom": first}
    assert told[1:3] == [{"index": 0, "custom": {"input": text}} for text in ("{}", "more")]
    assert (told[3]["type"], told[3]["function"]["name"]) == ("function", "get")
