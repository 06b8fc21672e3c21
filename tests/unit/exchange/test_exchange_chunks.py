"""Chunks of an engine or a server elsewhere are looked at before the host builds on their shape."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from modelhost.chat.relay import Relay, Report
from modelhost.errors import EngineError
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.chunks import chunk_of
from modelhost.exchange.events import (
    CallCancelled,
    CallFinished,
    CallLogged,
    CallProgressed,
    CallStarted,
    Event,
    Finish,
    FinishDetails,
    Loading,
    Question,
    Queued,
    ToolsMissing,
    WaitingForTools,
)


def _chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _call(**fields: Any) -> dict[str, Any]:
    return _chunk(tool_calls=[fields])


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": []},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "timings": {"n": 1}},
        {"choices": [], "usage": None},
        _chunk(),
        _chunk(role="assistant", content=None),
        _chunk(content="Hi", reasoning_content="Hm", anything={"else": 1}),
        _call(index=0, id="x", function={"name": "f", "arguments": ""}),
        _call(index=0, id="x", type="custom", custom={"name": "f", "input": ""}),
        _call(index=1, custom={"input": "text"}, more=1),
        _chunk(content="Hi", tool_calls=None),
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop", "logprobs": None}]},
        {"choices": [{"index": at, "delta": {"content": "a"}, "finish_reason": None} for at in range(3)]},
        {"choices": [{"index": 1, "text": "Hi", "logprobs": {"tokens": []}, "finish_reason": "stop"}]},
    ],
)
def test_a_chunk_that_is_read_and_written_again_has_the_same_fields(chunk: dict[str, Any]) -> None:
    given = {"id": "x", "object": _kind(chunk), "created": 1, "model": "m", "system_fingerprint": "f", **chunk}
    assert chunk_of(ChunkReader().read(given)) == given


def _kind(chunk: dict[str, Any]) -> str:
    is_text = any("text" in choice for choice in chunk["choices"])
    return "text_completion" if is_text else "chat.completion.chunk"


@pytest.mark.parametrize(
    "event",
    [
        CallStarted(id="c", name="f", arguments={"a": 1}),
        CallProgressed(id="c", progress=1, total=2, message=None),
        CallLogged(line={"server": "s", "level": "info", "logger": None, "data": "x"}),
        CallFinished(id="c", name="f", server="s", tool="t", is_error=False, code=None, text="ok", seconds=0.1),
        CallCancelled(id="c", name="f"),
        Question(id="q", kind="approval", seconds=60, about={"tool": "rm"}),
        WaitingForTools(servers=("a", "b"), seconds=1.5),
        Queued(position=2),
        Loading(),
        Loading(progress=0.5),
        ToolsMissing(servers=(("a", "failed"),)),
        Finish(reason="length", details=FinishDetails(kind="turn_limit", message="Enough.")),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_a_host_tells_besides_is_read_by_another(event: Event) -> None:
    chunk = chunk_of((event,))
    read = ChunkReader().read(chunk)
    assert event in read
    assert chunk_of(read) == chunk


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
    block = b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in (sound, chunk))
    assert relay.read(block) == [ChunkReader().read(sound)]
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
