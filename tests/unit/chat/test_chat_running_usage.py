"""The tokens so far, in each piece of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.relay import Relay, Report
from modelhost.chat.usage import RunningUsageRewriter
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.remote.engine import Remote
from modelhost.errors import EngineError
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.chunks import chunk_of
from modelhost.exchange.requests import ChatRequest
from modelhost.exchange.sse import encode_event

BASE = {"id": "chatcmpl-1", "created": 1, "model": "m", "object": "chat.completion.chunk"}
TIMINGS = {"cache_n": 4, "prompt_n": 2, "predicted_n": 3}
HELLO = {"role": "user", "content": "Hi"}
OPTIONS = {"include_usage": True, "continuous_usage_stats": True}


def chunk(text: str | None, **more: Any) -> dict[str, Any]:
    delta = {"role": "assistant"} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **BASE, **more}


def nothing(_: Mapping[str, Any]) -> None:
    return None


def usages(counting: RunningUsageRewriter, *chunks: dict[str, Any]) -> list[tuple[int, int]]:
    reader = ChunkReader()
    told = [chunk_of(counting.rewrite(reader.read(each)))["usage"] for each in chunks]
    return [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in told]


def test_an_engine_that_says_nothing_has_its_pieces_counted() -> None:
    assert usages(RunningUsageRewriter(nothing), chunk(None), chunk("a"), chunk("b")) == [(0, 0), (0, 1), (0, 2)]


def test_an_engines_own_usage_wins_and_is_told_once() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    assert usages(RunningUsageRewriter(nothing), chunk("a", usage=usage), chunk("b")) == [(5, 7), (5, 7)]


@pytest.mark.parametrize("asked", [{}, {"timings_per_token": True}], ids=str)
def test_llamacpp_tells_it_as_timings_which_stay_where_they_were_asked_for(asked: dict[str, Any]) -> None:
    counting = RunningUsageRewriter(partial(LlamaCpp().usage_in, requested=asked))
    read = ChunkReader().read(chunk("a", timings=TIMINGS))
    written = chunk_of(counting.rewrite(read))
    assert written["usage"]["total_tokens"] == 9
    assert written["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    assert ("timings" in written) is bool(asked)


def test_llamacpp_is_asked_in_its_own_words() -> None:
    body = LlamaCpp().adapt("chat", {"messages": [HELLO], "stream_options": OPTIONS})
    assert (body["stream_options"], body["timings_per_token"]) == ({"include_usage": True}, True)
    assert OPTIONS["continuous_usage_stats"]


@pytest.mark.parametrize(
    ("options", "is_asked"),
    [({}, False), ({"fields": ["continuous_usage_stats"]}, True), ({"dialect": "vllm"}, True)],
    ids=str,
)
def test_a_server_elsewhere_is_asked_if_it_is_said_to_know(options: dict[str, Any], *, is_asked: bool) -> None:
    body = Remote(options).adapt("chat", {"messages": [HELLO], "stream_options": OPTIONS})
    assert ("continuous_usage_stats" in body["stream_options"]) is is_asked
    assert body["stream_options"]["include_usage"]


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_request_says_so(*, is_wanted: bool) -> None:
    options = {**OPTIONS, "continuous_usage_stats": is_wanted}
    request = parsed("chat", {"messages": [HELLO], "stream": True, "stream_options": options})
    assert isinstance(request, ChatRequest)
    assert request.continuous_usage is is_wanted


def test_the_relay_leaves_the_usage_of_each_chunk_where_it_is() -> None:
    report = Report()
    relay = Relay(
        report=report,
        include_usage=False,
        refusal=lambda status, _: EngineError(str(status), model="m", worker="m/1"),
        is_counting=True,
    )
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    block = encode_event(chunk("a", usage=usage))
    assert relay.pass_on(block) == block
    assert relay.pass_on(encode_event({**chunk("a"), "choices": [], "usage": usage})) == b""
    assert report.usage == usage
