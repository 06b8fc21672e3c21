"""A whole answer from the pieces of a streamed one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.whole_answer import WholeAnswer


def whole(*chunks: dict[str, Any], kind: str = "chat.completion.chunk") -> dict[str, Any]:
    answer, reader = WholeAnswer(), ChunkReader()
    for chunk in chunks:
        answer.add(reader.read({"id": "x", "object": kind, **chunk}))
    return answer.json()


def delta(index: int = 0, finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish_reason}]}


def test_pieces_of_text_become_one_message() -> None:
    answer = whole(delta(role="assistant", content=None), delta(content="Hel"), delta(content="lo"), delta(0, "stop"))
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hello"},
            "logprobs": None,
        }
    ]


def test_an_answer_without_text_or_call_has_empty_text() -> None:
    assert whole(delta(role="assistant", content=None), delta(0, "stop"))["choices"][0]["message"]["content"] == ""


def test_reasoning_is_kept_beside_the_text() -> None:
    message = whole(delta(reasoning_content="I th"), delta(reasoning_content="ink"), delta(content="so"))["choices"][0]
    assert message["message"]["reasoning_content"] == "I think"
    assert message["message"]["content"] == "so"


def test_pieces_of_custom_calls_become_calls_with_an_input() -> None:
    answer = whole(
        delta(tool_calls=[{"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": ""}}]),
        delta(tool_calls=[{"index": 0, "custom": {"input": "x = "}}]),
        delta(tool_calls=[{"index": 1, "id": "b", "type": "custom", "custom": {"name": "g"}}]),
        delta(tool_calls=[{"index": 0, "custom": {"input": "1"}}]),
        delta(0, "tool_calls"),
    )
    assert answer["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "type": "custom", "custom": {"name": "f", "input": "x = 1"}},
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": ""}},
    ]


def test_pieces_of_calls_become_calls_without_the_streams_index() -> None:
    answer = whole(
        delta(tool_calls=[{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"x"'}}]),
        delta(tool_calls=[{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}]),
        delta(0, "tool_calls"),
    )
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_choices_come_in_order_whatever_order_their_pieces_came_in() -> None:
    answer = whole(delta(1, content="b"), delta(0, content="a"), delta(1, "stop"), delta(0, "length"))
    assert [(each["index"], each["message"]["content"], each["finish_reason"]) for each in answer["choices"]] == [
        (0, "a", "length"),
        (1, "b", "stop"),
    ]


def test_a_completion_has_text_and_logprobs_are_joined() -> None:
    answer = whole(
        {"choices": [{"index": 0, "text": "a", "logprobs": {"tokens": ["a"]}}]},
        {"choices": [{"index": 0, "text": "b", "logprobs": {"tokens": ["b"]}, "finish_reason": "stop"}]},
        kind="text_completion",
    )
    assert answer["choices"] == [
        {"index": 0, "finish_reason": "stop", "text": "ab", "logprobs": {"tokens": ["a", "b"]}}
    ]


@given(pieces=st.lists(st.text(max_size=5)))
def test_no_text_is_lost(pieces: list[str]) -> None:
    answer = whole(delta(role="assistant"), *(delta(content=piece) for piece in pieces), delta(0, "stop"))
    assert answer["choices"][0]["message"]["content"] == "".join(pieces)
