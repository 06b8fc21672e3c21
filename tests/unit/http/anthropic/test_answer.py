"""Answers as events of Anthropic's API, and messages that are put together from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from modelhost.exchange.events import (
    Begin,
    CallCancelled,
    CallFinished,
    CallLogged,
    CallProgressed,
    CallStarted,
    Envelope,
    Event,
    Finish,
    FinishDetails,
    Loading,
    PartialUsage,
    Question,
    Queued,
    Reasoning,
    Refusal,
    Text,
    ToolCallPiece,
    ToolsMissing,
    Usage,
    WaitingForTools,
)
from modelhost.http.anthropic.answer import (
    MessageEvents,
    WholeMessage,
    encoded,
    message_id,
    usage_of,
)
from modelhost.http.anthropic.parse import ThinkingFormat

Json = dict[str, Any]
ENVELOPE = Envelope(id="chatcmpl-1", created=1, model="m")
BEGIN = Begin(envelope=ENVELOPE)
USAGE = Usage(usage={"prompt_tokens": 5, "completion_tokens": 3})
STOP = Finish(reason="stop")
SHOWN = ThinkingFormat(is_shown=True)
OMITTED = ThinkingFormat(is_shown=True, is_omitted=True)
HIDDEN = ThinkingFormat()


def sign(thinking: str) -> str:
    return f"signed {thinking!r}"


def events_of(thinking: ThinkingFormat = HIDDEN, max_tokens: int | None = None) -> MessageEvents:
    return MessageEvents(thinking=thinking, sign=sign, max_tokens=max_tokens)


def events(*given: Event, thinking: ThinkingFormat = HIDDEN, max_tokens: int | None = None) -> list[Json]:
    """Return the events of an answer, one piece for each event of the host."""
    made = events_of(thinking, max_tokens)
    return [event for each in given for event in made.of((each,))]


def whole(*given: Event, thinking: ThinkingFormat = HIDDEN, max_tokens: int | None = None) -> Json:
    message = WholeMessage(events_of(thinking, max_tokens))
    for each in given:
        message.add((each,))
    return message.json()


def content(*given: Event, thinking: ThinkingFormat = HIDDEN) -> list[Json]:
    """Return the blocks of a whole answer, whose stream is checked to be well formed."""
    given = (BEGIN, *given, USAGE)
    check_stream(events(*given, thinking=thinking))
    found: list[Json] = whole(*given, thinking=thinking)["content"]
    return found


def check_stream(stream: Sequence[Json]) -> None:
    """Check that blocks follow one another, counted from 0, and that there is one beginning and one end."""
    own = [event for event in stream if "." not in event["type"]]
    kinds = [event["type"] for event in own]
    assert (kinds[0], kinds[-2], kinds[-1]) == ("message_start", "message_delta", "message_stop")
    index, is_open = -1, False
    for event in own[1:-2]:
        if event["type"] == "content_block_start":
            assert not is_open
            index, is_open = index + 1, True
        else:
            assert is_open
            is_open = event["type"] == "content_block_delta"
        assert event["index"] == index
    assert not is_open


def text(said: str) -> Json:
    return {"type": "text", "text": said, "citations": []}


def use(call_id: str, name: str, arguments: Json) -> Json:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments, "caller": {"type": "direct"}}


def piece(index: int, arguments: str | None, call_id: str | None = None, name: str | None = None) -> ToolCallPiece:
    return ToolCallPiece(index=index, id=call_id, name=name, arguments=arguments)


# Text.


def test_the_events_of_a_text() -> None:
    found = events(BEGIN, Text(text="Good "), Text(text="day."), STOP, USAGE)
    check_stream(found)
    start, block, one, two, end, delta, stop = found
    message = start["message"]
    assert (message["id"], message["model"], message["role"], message["content"]) == ("msg_1", "m", "assistant", [])
    assert (message["stop_reason"], message["stop_sequence"], message["usage"]["output_tokens"]) == (None, None, 0)
    assert block == {"type": "content_block_start", "index": 0, "content_block": text("")}
    assert [each["delta"] for each in (one, two)] == [
        {"type": "text_delta", "text": "Good "},
        {"type": "text_delta", "text": "day."},
    ]
    assert end == {"type": "content_block_stop", "index": 0}
    assert delta["delta"]["stop_reason"] == "end_turn"
    assert (delta["usage"]["input_tokens"], delta["usage"]["output_tokens"]) == (5, 3)
    assert stop == {"type": "message_stop"}


def test_a_whole_message_is_what_the_stream_says() -> None:
    found = whole(BEGIN, Text(text="Good "), PartialUsage(usage={}), Text(text="day."), STOP, USAGE)
    assert (found["type"], found["content"], found["stop_reason"]) == ("message", [text("Good day.")], "end_turn")
    assert (found["usage"]["input_tokens"], found["usage"]["service_tier"]) == (5, "standard")


def test_a_refusal_is_text() -> None:
    assert content(Refusal(text="No."), STOP) == [text("No.")]


def test_an_answer_without_text_has_no_blocks() -> None:
    assert content(STOP) == []


def test_the_events_of_one_piece_are_written_in_their_order() -> None:
    made = events_of()
    found = list(made.of((BEGIN, Text(text="Hi"), STOP)))
    assert [event["type"] for event in found] == ["message_start", "content_block_start", "content_block_delta"]


@pytest.mark.parametrize(("given", "made"), [("chatcmpl-a1", "msg_a1"), ("cmpl-7", "msg_cmpl-7")])
def test_the_id_of_a_message_is_made_from_the_engines(given: str, made: str) -> None:
    assert message_id(given) == made


def test_a_message_of_an_engine_without_ids_has_one_of_its_own() -> None:
    assert message_id(None).startswith("msg_")
    assert message_id(None) != message_id(None)


# Thinking.

THOUGHT = (Reasoning(text="Let me "), Reasoning(text="see."), Text(text="Yes."), STOP)


def test_thinking_is_shown_with_its_signature() -> None:
    thinking = {"type": "thinking", "thinking": "Let me see.", "signature": sign("Let me see.")}
    assert content(*THOUGHT, thinking=SHOWN) == [thinking, text("Yes.")]
    deltas = [
        event["delta"]["type"]
        for event in events(BEGIN, *THOUGHT, USAGE, thinking=SHOWN)
        if "index" in event and "delta" in event
    ]
    assert deltas == ["thinking_delta", "thinking_delta", "signature_delta", "text_delta"]


def test_thinking_that_is_omitted_has_the_signature_of_no_text() -> None:
    assert content(*THOUGHT, thinking=OMITTED) == [
        {"type": "thinking", "thinking": "", "signature": sign("")},
        text("Yes."),
    ]


def test_thinking_that_was_not_requested_is_not_there() -> None:
    assert content(*THOUGHT) == [text("Yes.")]


def test_each_block_of_thinking_is_signed_by_itself() -> None:
    found = content(Reasoning(text="One."), Text(text="a"), Reasoning(text="Two."), STOP, thinking=SHOWN)
    assert [block.get("signature") for block in found] == [sign("One."), None, sign("Two.")]


# Calls of the client's tools.


def test_a_call_in_pieces() -> None:
    found = content(
        Text(text="I look."),
        piece(0, "", "a", "look"),
        piece(0, '{"at": '),
        piece(0, '"b"}'),
        Finish(reason="tool_calls"),
    )
    assert found == [text("I look."), use("a", "look", {"at": "b"})]


def test_calls_that_follow_one_another() -> None:
    found = content(piece(0, "{}", "a", "one"), piece(1, '{"x": 1}', "b", "two"), Finish(reason="tool_calls"))
    assert found == [use("a", "one", {}), use("b", "two", {"x": 1})]


def test_calls_that_are_interleaved_become_blocks_one_after_the_other() -> None:
    found = content(
        piece(0, '{"x"', "a", "one"),
        piece(1, '{"y"', "b", "two"),
        piece(2, "{}", "c", "three"),
        piece(0, ": 1}"),
        piece(1, ": 2}"),
        Finish(reason="tool_calls"),
    )
    assert found == [use("a", "one", {"x": 1}), use("b", "two", {"y": 2}), use("c", "three", {})]


@pytest.mark.parametrize("arguments", ['{"x": ', "[1]", "null", "words"])
def test_arguments_that_are_no_object_are_kept_under_a_name_of_their_own(arguments: str) -> None:
    (found,) = content(piece(0, arguments, "a", "look"), Finish(reason="length"))
    assert found["input"] == {"INVALID_JSON": arguments}


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert content(piece(0, None, "a", "look"), Finish(reason="tool_calls")) == [use("a", "look", {})]


def test_a_call_without_an_id_gets_one() -> None:
    (found,) = content(piece(0, "{}", None, "look"), Finish(reason="tool_calls"))
    assert found["id"].startswith("toolu_")


# Calls of the host's tools.


def test_calls_of_the_host_are_blocks_with_their_server() -> None:
    found = content(
        Text(text="I look."),
        CallStarted(id="a", name="look", arguments={"at": "b"}, server="eyes"),
        CallFinished(id="a", name="look", text="seen"),
        CallStarted(id="b", name="cut", arguments="no object", server="files"),
        CallFinished(id="b", name="cut", text="broken", is_error=True),
        CallStarted(id="c", name="wait"),
        CallCancelled(id="c", name="wait"),
        Text(text="Done."),
        STOP,
    )
    uses = [block for block in found if block["type"] == "mcp_tool_use"]
    results = [block for block in found if block["type"] == "mcp_tool_result"]
    assert [(block["id"], block["server_name"], block["input"]) for block in uses] == [
        ("a", "eyes", {"at": "b"}),
        ("b", "files", {"INVALID_JSON": "no object"}),
        ("c", "", {}),
    ]
    assert [(block["tool_use_id"], block["content"][0]["text"], block["is_error"]) for block in results] == [
        ("a", "seen", False),
        ("b", "broken", True),
        ("c", "The call was cancelled.", True),
    ]
    assert (found[0], found[-1]) == (text("I look."), text("Done."))


def test_an_answer_may_begin_with_a_call_of_the_host() -> None:
    found = events(CallStarted(envelope=ENVELOPE, id="a", name="look"), STOP, USAGE)
    check_stream(found)
    assert found[0]["message"]["id"] == "msg_1"


def test_other_events_of_the_host_have_names_of_their_own() -> None:
    given = (
        WaitingForTools(servers=("files",), seconds=2.0),
        Queued(position=3),
        Loading(progress=0.5),
        ToolsMissing(servers=(("files", "failed"),)),
        BEGIN,
        CallProgressed(id="a", progress=1.0),
        CallLogged(line={"server": "files", "data": "x"}),
        Question(id="q", kind="approval", seconds=9.0, about={"tool": "cut"}),
        STOP,
        USAGE,
    )
    found = events(*given)
    check_stream(found)
    own = {event["type"]: event for event in found if "." in event["type"]}
    assert own["modelhost.waiting_for_tools"]["servers"] == ["files"]
    assert own["modelhost.queued"]["position"] == 3
    assert own["modelhost.loading"]["progress"] == 0.5
    assert own["modelhost.tool_progress"]["id"] == "a"
    assert own["modelhost.tool_log"]["data"] == "x"
    assert own["modelhost.question"]["kind"] == "approval"
    missing = {"missing": [{"server": "files", "state": "failed"}]}
    assert own["modelhost.tools"] == {"type": "modelhost.tools", **missing}
    # Of these, a whole message says only which tools are missing.
    message = whole(*given)
    assert message["modelhost.tools"] == missing
    assert [name for name in message if "." in name] == ["modelhost.tools"]
    assert (message["id"], message["content"]) == ("msg_1", [])


# The end.


def ended(finish: Finish, max_tokens: int | None = 3) -> Json:
    return whole(BEGIN, Text(text="Hi"), finish, USAGE, max_tokens=max_tokens)


@pytest.mark.parametrize(
    ("reason", "named"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("anything else", "end_turn"),
    ],
)
def test_the_reason_of_the_engine(reason: str, named: str) -> None:
    found = ended(Finish(reason=reason))
    assert (found["stop_reason"], found["stop_sequence"]) == (named, None)


def test_an_answer_that_ends_before_its_limit_has_filled_the_context() -> None:
    assert ended(Finish(reason="length"), max_tokens=4)["stop_reason"] == "model_context_window_exceeded"
    assert ended(Finish(reason="length"), max_tokens=None)["stop_reason"] == "max_tokens"


def test_a_stop_sequence_is_named() -> None:
    found = ended(Finish(reason="stop", details=FinishDetails(kind="stop_sequence", message="END")))
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")
    assert "modelhost.finish_details" not in found


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("turn_limit", "pause_turn"),
        ("time_limit", "pause_turn"),
        ("token_limit", "max_tokens"),
        ("context_limit", "model_context_window_exceeded"),
        ("depth_limit", "max_tokens"),
    ],
)
def test_why_the_host_ended_an_answer(kind: str, named: str) -> None:
    found = ended(Finish(reason="length", details=FinishDetails(kind=kind, message="Why.")), max_tokens=100)
    assert (found["stop_reason"], found["stop_sequence"]) == (named, None)
    assert found["modelhost.finish_details"] == {"type": kind, "message": "Why."}


def test_an_answer_without_a_finish_ends() -> None:
    assert whole(BEGIN, Text(text="Hi"), USAGE)["stop_reason"] == "end_turn"


# Usage.


def test_tokens_that_were_cached_are_no_input_tokens() -> None:
    found = usage_of(
        {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 3},
        }
    )
    assert (found["input_tokens"], found["cache_read_input_tokens"], found["cache_creation_input_tokens"]) == (2, 8, 0)
    assert (found["output_tokens"], found["output_tokens_details"]) == (4, {"thinking_tokens": 3})


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None},
        {"prompt_tokens": 0, "prompt_tokens_details": {"cached_tokens": None}, "completion_tokens_details": {}},
    ],
    ids=["none", "null", "empty"],
)
def test_what_an_engine_does_not_count_is_zero(usage: Json) -> None:
    found = usage_of(usage)
    counts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    assert [found[name] for name in counts] == [0] * 4
    assert found["output_tokens_details"] is None


# The encoding.


def test_an_event_is_one_line_of_data_after_its_name() -> None:
    assert encoded({"type": "ping"}) == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_the_events_of_a_piece_are_one_block() -> None:
    writer = events_of()
    block = writer.block((BEGIN, Text(text="a\nb")))
    names = [line for line in block.splitlines() if line.startswith(b"event: ")]
    assert names == [b"event: message_start", b"event: content_block_start", b"event: content_block_delta"]
    last = block.split(b"\n\n")[2].split(b"data: ")[1]
    assert json.loads(last)["delta"]["text"] == "a\nb"
    assert writer.block((PartialUsage(usage={}),)) == b""


@pytest.mark.parametrize("text", ["word", "", 'a "b"\n\n\\', "\u00e9 \U0001f600 \u2028"])
def test_text_in_an_open_block_is_written_as_other_events_are(text: str) -> None:
    writer, other = events_of(SHOWN), events_of(SHOWN)
    pieces = [(BEGIN,), (Reasoning(text="hm"),), (Text(text="so"),), (Text(text=text),), (Reasoning(text=text),)]
    for piece in pieces:
        assert writer.block(piece) == b"".join(map(encoded, other.of(piece)))


def test_with_a_limit_of_zero_an_answer_is_empty() -> None:
    events = events_of(SHOWN, max_tokens=0)
    whole = WholeMessage(events)
    call = ToolCallPiece(index=0, id="c", name="a", arguments="{}")
    for piece in ((BEGIN,), (Reasoning(text="a"),), (Text(text="b"),), (call,), (STOP,), (USAGE,)):
        whole.add(piece)
    message = whole.json()
    assert (message["content"], message["stop_reason"], message["usage"]["output_tokens"]) == ([], "max_tokens", 0)
