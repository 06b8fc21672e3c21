"""Chunks of an engine or a server elsewhere are looked at before the host builds on their shape."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from modelhost.chat.chunk_shapes import is_chunk
from modelhost.chat.relay import Relay, Report
from modelhost.errors import EngineError


def _chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _call(**fields: Any) -> dict[str, Any]:
    return _chunk(tool_calls=[fields])


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": []},
        _chunk(),
        _chunk(role="assistant", content=None),
        _chunk(content="Hi", reasoning_content="Hm", anything={"else": 1}),
        _call(index=0, id="x", function={"name": "f", "arguments": ""}),
        _call(function=None),
        {"choices": [{"index": 1, "text": "Hi", "logprobs": {"tokens": []}, "finish_reason": "stop"}]},
    ],
)
def test_what_engines_send_is_a_chunk(chunk: dict[str, Any]) -> None:
    assert is_chunk(chunk)


UNKNOWN: list[Any] = [
    [],
    {},
    {"choices": {}},
    {"choices": [1]},
    {"choices": [{"delta": {}}]},
    {"choices": [{"index": -1, "delta": {}}]},
    {"choices": [{"index": 0, "delta": None}]},
    {"choices": [{"index": 0, "delta": {}, "logprobs": 5}]},
    {"choices": [{"index": 0, "text": 5}]},
    {"choices": [{"index": 0, "text": None}]},
    _chunk(content=5),
    _chunk(content=["Hi"]),
    _chunk(tool_calls="f"),
    _call(index=10**9),
    _call(index="0"),
    _call(function="f"),
    _call(function={"name": 1}),
    _call(id=7),
]


@pytest.mark.parametrize("chunk", UNKNOWN)
def test_anything_else_is_an_error_of_the_engine(chunk: Any) -> None:
    relay = Relay(report=Report(), include_usage=True, refusal=_refusal)
    sound = _chunk(content="Hi")
    assert relay.decoded(b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in (sound, chunk))) == [sound]
    assert isinstance(relay.failure, EngineError)
    assert re.search(r"has no shape that is known|is not JSON", relay.failure.message)


@pytest.mark.parametrize("usage", [5, [], {"prompt_tokens": "many"}, {"prompt_tokens_details": 1}])
def test_usage_that_counts_nothing_is_an_error_of_the_engine(usage: Any) -> None:
    relay = Relay(report=Report(), include_usage=True, refusal=_refusal)
    assert relay.pass_on(b"data: " + orjson.dumps({"choices": [], "usage": usage}) + b"\n\n") == b""
    assert isinstance(relay.failure, EngineError)
    assert "has no shape that is known" in relay.failure.message


def _refusal(status: int, payload: Any) -> EngineError:
    return EngineError(f"{status}: {payload['error']['message']}", model="m", worker="w")
