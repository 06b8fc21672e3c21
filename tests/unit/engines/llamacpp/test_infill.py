"""Answers of llama.cpp's ``/infill`` in the words of completions."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from modelhost.engines.llamacpp.dialect import completion_events, infill_body


def _event(**told: Any) -> bytes:
    return b"data: " + orjson.dumps({"index": 0, "content": "", "stop": False, **told}) + b"\n\n"


def _read(block: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(event.removeprefix(b"data: ")) for event in completion_events(block).split(b"\n\n") if event]


def test_the_fields_have_other_names_there() -> None:
    body = {"prompt": "a", "suffix": "b", "begun": "c", "files": [{"text": "d"}], "max_tokens": 3}
    assert infill_body(body) == {
        "input_prefix": "a",
        "input_suffix": "b",
        "prompt": "c",
        "input_extra": [{"text": "d"}],
        "max_tokens": 3,
    }


def test_each_event_is_a_chunk() -> None:
    likely = [{"id": 5, "token": "x", "logprob": -0.5, "top_logprobs": []}]
    first, second = _read(_event(content="x", completion_probabilities=likely) + _event(content="y"))
    assert first["choices"] == [
        {"index": 0, "text": "x", "finish_reason": None, "logprobs": {"content": likely}},
    ]
    assert second["choices"] == [{"index": 0, "text": "y", "finish_reason": None}]


@pytest.mark.parametrize(("stop_type", "reason"), [("limit", "length"), ("eos", "stop"), ("word", "stop")])
def test_the_last_one_tells_why_and_how_much(stop_type: str, reason: str) -> None:
    counts = {"tokens_evaluated": 7, "tokens_predicted": 2, "timings": {"cache_n": 3}}
    (last,) = _read(_event(stop=True, stop_type=stop_type, stopping_word="", **counts) + b"\n")
    assert last["choices"][0]["finish_reason"] == reason
    assert last["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    assert (last["stop_type"], last["timings"]) == (stop_type, {"cache_n": 3})
    assert "stopping_word" not in last


def test_an_error_stays_one() -> None:
    error = {"error": {"message": "it broke", "code": 500}}
    assert _read(b"data: " + orjson.dumps(error) + b"\n\n") == [error]
