"""``parallel_tool_calls: false``: of several calls of an engine, the first is left."""

from __future__ import annotations

from modelhost.chat.tools.tool_choice import SingleCallRewriter
from modelhost.exchange.events import Begin, CustomCallPiece, Event, Extra, Finish, Piece, Text, ToolCallPiece


def first(arguments: str, index: int = 0) -> ToolCallPiece:
    return ToolCallPiece(index=index, id=f"call_{index}", name="f", arguments=arguments)


def rewritten(*pieces: Piece) -> list[Event]:
    rewrite = SingleCallRewriter().rewrite
    return [event for piece in pieces for event in rewrite(piece)]


def test_later_calls_are_left_out_and_all_else_stays() -> None:
    kept = [Text(text="Well"), first("{"), first("}"), Finish(reason="tool_calls")]
    text, begin, rest, end = kept
    found = rewritten((text,), (begin,), (first("{}", 1), rest), (first("{}", 2), end))
    assert found == kept


def test_a_piece_of_a_later_call_alone_is_an_empty_one() -> None:
    assert rewritten((first("{}"),), (first("{}", 1),)) == [first("{}"), Begin(role=None)]


def test_a_custom_call_counts_as_well() -> None:
    custom = CustomCallPiece(index=3, id="call_3", name="run", input="ls")
    assert rewritten((custom,), (first("{}", 4),)) == [custom, Begin(role=None)]


def test_unknown_fields_of_a_piece_are_kept() -> None:
    extra = Extra(chunk={"timings": 1})
    assert rewritten((first("{}"),), (ToolCallPiece(index=1, extra=extra), Text(text="a"))) == [
        first("{}"),
        Text(text="a", extra=extra),
    ]
