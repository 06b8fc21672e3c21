"""The relay: bytes in, the same bytes out, and what it notes on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.relay import Relay, Report, payloads_of
from modelhost.errors import EngineError, ModelhostError
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.sse import DONE_EVENT, encode_event

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
BASE = {"id": "chatcmpl-1", "created": 1, "model": "m", "object": "chat.completion.chunk"}


def piece(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}], **BASE}


def refuse(status: int, payload: Any) -> ModelhostError:
    message = payload["error"]["message"] if isinstance(payload["error"], dict) else str(payload["error"])
    more = {"model_output": True} if "does not match" in message else {}
    return EngineError(message, model="m", worker="m/1", status=status, **more)


def relay(report: Report | None = None, **options: Any) -> Relay:
    return Relay(report=report or Report(), refusal=refuse, **{"include_usage": False, **options})


def stream(texts: Iterable[str]) -> list[bytes]:
    """The events of an answer of llama.cpp: role, pieces, finish reason, usage, end marker."""
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}], **BASE}
    usage = {"choices": [], "usage": USAGE, **BASE}
    return [
        *(encode_event(each) for each in (role, *map(piece, texts), piece("", "stop"), usage)),
        DONE_EVENT,
    ]


def blocks_of(events: Sequence[bytes], cuts: Iterable[int]) -> list[bytes]:
    """Put the events together into blocks that end at ``cuts``."""
    ends = sorted({*(cut % (len(events) + 1) for cut in cuts), len(events)} - {0})
    return [b"".join(events[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]


def test_a_block_without_news_is_passed_on_untouched() -> None:
    block = b"".join(stream(["a", "b"])[:3])
    assert relay().pass_on(block) is block


def test_the_times_of_the_first_and_the_last_block_are_noted() -> None:
    report = Report()
    passing = relay(report)
    passing.pass_on(encode_event(piece("a")))
    first = report.first_at
    passing.pass_on(encode_event(piece("b")))
    assert first is not None
    assert report.first_at == first
    assert report.last_at is not None
    assert report.last_at >= first >= report.began


@pytest.mark.parametrize("include_usage", [True, False])
def test_usage_is_noted_and_passed_on_only_when_asked(include_usage: bool) -> None:
    report = Report()
    out = relay(report, include_usage=include_usage).pass_on(b"".join(stream(["a"])))
    assert report.usage == USAGE
    assert (b'"usage"' in out) == include_usage
    assert out.endswith(DONE_EVENT)


@pytest.mark.parametrize("include_usage", [True, False])
def test_usage_on_the_last_piece_becomes_an_event_of_its_own(include_usage: bool) -> None:
    last = {"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}], "usage": USAGE, "id": "cmpl-1"}
    payloads = payloads_of(relay(include_usage=include_usage).pass_on(encode_event(last)))
    assert payloads[0] == {key: value for key, value in last.items() if key != "usage"}
    assert payloads[1:] == ([{"choices": [], "usage": USAGE, "id": "cmpl-1"}] if include_usage else [])


def failed(passing: Relay) -> EngineError:
    assert isinstance(passing.failure, EngineError)
    return passing.failure


def test_an_error_event_ends_the_answer_with_its_status_and_what_came_before_it_is_passed_on() -> None:
    passing, before = relay(), encode_event(piece("a")) + encode_event(piece("b"))
    event = encode_event({"error": {"code": 503, "message": "no room", "type": "x"}})
    assert passing.pass_on(before + event + encode_event(piece("c"))) == before
    assert failed(passing).message == "no room"
    assert failed(passing).details["status"] == 503


@pytest.mark.parametrize("payload", [{"error": "text"}, {"error": {"code": "text", "message": "m"}}, {"error": None}])
def test_an_error_event_of_an_odd_shape_is_an_error_too(payload: dict[str, Any]) -> None:
    passing = relay()
    assert passing.pass_on(encode_event(payload)) == b""
    assert failed(passing)


@pytest.mark.parametrize("event", [b'data: {"choices":[{"delta":{"content":"\n\n', b"data: 5\n\n", b"data: \n\n"])
@pytest.mark.parametrize("after", [b"", encode_event(piece("b")), encode_event(piece("b")) + DONE_EVENT], ids=len)
def test_an_event_that_is_no_object_is_an_error_of_the_engine(event: bytes, after: bytes) -> None:
    passing, before = relay(), encode_event(piece("a"))
    assert passing.pass_on(before + event + after) == before
    assert "not JSON" in failed(passing).message


def test_decoding_reports_a_broken_event_in_the_middle_too() -> None:
    passing, before = relay(), encode_event(piece("a"))
    assert passing.read(before + b'data: {"cho\n\n' + encode_event(piece("b"))) == [ChunkReader().read(piece("a"))]
    assert "not JSON" in failed(passing).message


def test_a_sound_block_is_no_failure() -> None:
    passing = relay()
    passing.pass_on(b"".join(stream(["a"])))
    passing.read(b"".join(stream(["b"])))
    assert passing.failure is None


@pytest.mark.parametrize(
    "text", ['"usage"', '{"error": {"code": 500}}', "data: [DONE]\n\n", '"usage":{"prompt_tokens":1}']
)
def test_text_that_looks_like_news_is_text(text: str) -> None:
    report = Report()
    block = encode_event(piece(text))
    assert payloads_of(relay(report).pass_on(block)) == [piece(text)]
    assert report.usage is None


UNREADABLE = encode_event({"error": {"code": 500, "message": "The output does not match the expected format"}})


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_output_that_the_engine_cannot_read_ends_the_answer_in_the_ordinary_way(
    include_usage: bool, apart: bool
) -> None:
    report = Report()
    passing = relay(report, include_usage=include_usage, may_fail_to_parse=True)
    events = [*stream(["a", "b"])[:3], UNREADABLE]
    out = b"".join(map(passing.pass_on, events if apart else [b"".join(events)]))
    payloads = payloads_of(out)
    assert [payload["choices"][0]["delta"].get("content") for payload in payloads[:3]] == [None, "a", "b"]
    assert payloads[3] == {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **BASE}
    assert report.usage == {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}
    assert payloads[4:] == ([{"choices": [], "usage": report.usage, **BASE}] if include_usage else [])
    assert out.endswith(DONE_EVENT)


def test_without_a_structure_to_read_the_same_error_is_raised() -> None:
    passing, before = relay(), encode_event(piece("a"))
    assert passing.pass_on(before + UNREADABLE) == before
    assert "does not match" in failed(passing).message


TEXTS = st.lists(st.text(max_size=12), max_size=8)
CUTS = st.lists(st.integers(0, 30), max_size=8)


@given(texts=TEXTS, cuts=CUTS, include_usage=st.booleans())
def test_the_output_does_not_depend_on_how_the_stream_is_cut_into_blocks(
    texts: list[str], cuts: list[int], include_usage: bool
) -> None:
    events = stream(texts)
    whole_report, cut_report = Report(), Report()
    whole = relay(whole_report, include_usage=include_usage).pass_on(b"".join(events))
    passing = relay(cut_report, include_usage=include_usage)
    assert b"".join(map(passing.pass_on, blocks_of(events, cuts))) == whole
    assert cut_report.usage == whole_report.usage == USAGE
    assert cut_report.events == whole_report.events == len(events)
    assert cut_report.end.endswith(whole_report.end)
    assert whole_report.end == events[-3]


def test_of_a_whole_answer_in_one_block_the_end_alone_is_decoded() -> None:
    report, before = Report(), b'data: {"not": JSON}\n\n' + encode_event(piece("a"))
    out = relay(report).pass_on(before + b"".join(stream(["b"])))
    assert out.startswith(before)
    assert report.usage == USAGE


def test_an_event_that_is_cut_off_before_the_usage_is_found() -> None:
    passing = relay()
    assert passing.pass_on(b'data: {"cho\n\n' + b"".join(stream(["b"]))) == b""
    assert "not JSON" in failed(passing).message


@given(payload=st.dictionaries(st.text(max_size=5), st.text() | st.integers(-(2**53), 2**53), max_size=4))
def test_an_encoded_event_is_decoded_to_what_it_was(payload: dict[str, Any]) -> None:
    assert payloads_of(b": comment\n\n" + encode_event(payload) + DONE_EVENT) == [payload]
    assert orjson.loads(encode_event(payload)[6:]) == payload


def test_the_end_of_an_answer_without_usage_is_noted_once_it_has_ended() -> None:
    report, events = Report(), stream(["a", "b"])
    passing = relay(report)
    for event in [*events[:4], DONE_EVENT]:
        passing.pass_on(event)
    assert report.end == b""
    passing.end()
    assert report.end.startswith(events[3])
    assert report.events == 5
