"""Answers as events of the Responses API: their order, their places, their ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from modelhost.errors import QueueFull, WorkerCrashed
from modelhost.exchange.events import (
    ApprovalNeeded,
    Begin,
    CallCancelled,
    CallFinished,
    CallProgressed,
    CallStarted,
    CustomCallPiece,
    Event,
    Finish,
    FinishDetails,
    ListedTool,
    Logprobs,
    Question,
    Queued,
    Reasoning,
    Refusal,
    Text,
    ToolCallPiece,
    ToolsListed,
    ToolsMissing,
    Usage,
)
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest
from modelhost.http.responses.answer import TERMINAL, ResponseEvents, usage_of
from modelhost.http.responses.items import parsed_host_call_id
from modelhost.http.responses.parse import ParsedResponse
from modelhost.http.responses.writing import BlockWriter, encoded

Json = dict[str, Any]
REQUEST = ChatRequest(messages=(Message(role="user", content="Hi"),))
STOP = Finish(reason="stop")
USAGE = Usage(usage={"prompt_tokens": 5, "completion_tokens": 3})
CALL_A = CallStarted(id="a", name="stub_echo", server="stub", tool="echo", written='{"x": 1}', turn=1)
CALL_B = CallStarted(id="b", name="stub_echo", server="stub", tool="echo", written='{"x": 2}', turn=1)
CALL_C = CallStarted(id="c", name="stub_echo", server="stub", tool="echo", written="{}", turn=2)


def finished(call: CallStarted, text: str = "done", *, is_error: bool = False) -> CallFinished:
    return CallFinished(id=call.id, name=call.name, server="stub", tool="echo", text=text, is_error=is_error)


def events_for(**parsed: Any) -> ResponseEvents:
    response = {"id": "resp_1", "status": "in_progress", "error": None, "incomplete_details": None, "output": []}
    return ResponseEvents(response, ParsedResponse(request=REQUEST, **parsed), lambda text: f"sealed({text})")


def told(*given: Event, **parsed: Any) -> list[Json]:
    """The events of an answer, one piece for each event of the host; checked to be one response."""
    made = events_for(**parsed)
    found = [event for each in given for event in made.of((each,))]
    check(found)
    return found


def check(found: Sequence[Json]) -> None:
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    assert [event["type"] in TERMINAL for event in found] == [False] * (len(found) - 1) + [True]
    added = [event["output_index"] for event in found if event["type"] == "response.output_item.added"]
    assert added == list(range(len(added)))
    done = {event["output_index"]: event["item"] for event in found if event["type"] == "response.output_item.done"}
    output = found[-1]["response"]["output"]
    assert [done[index] for index in sorted(done)] == [output[index] for index in sorted(done)]
    assert len(output) == len(added)


def output(*given: Event, **parsed: Any) -> list[Json]:
    items: list[Json] = told(*given, STOP, USAGE, **parsed)[-1]["response"]["output"]
    return items


def kinds(found: Sequence[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in found]


# Text and reasoning.


def test_text_is_a_message_with_one_part() -> None:
    found = told(Begin(), Text(text="Good "), Text(text="day"), STOP, USAGE)
    assert kinds(found)[2:-1] == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]
    (item,) = found[-1]["response"]["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [{"type": "output_text", "text": "Good day", "annotations": [], "logprobs": []}]
    assert {event["item_id"] for event in found if "item_id" in event} == {item["id"]}


def test_a_delta_is_encoded_as_any_other_event() -> None:
    block = BlockWriter().block
    texts = (Text(text="a"), Text(text='"\u00e9\n'))
    for event in told(*texts, Refusal(text="No"), *texts, Reasoning(text="Hm"), *texts, STOP, USAGE):
        name, data, end, rest = block([event]).decode().split("\n")
        assert (name, end, rest) == (f"event: {event['type']}", "", "")
        assert json.loads(data.removeprefix("data: ")) == event


def test_events_that_come_together_are_one_block() -> None:
    found = told(Text(text="a"), STOP, USAGE)
    for group in (found, found[:2], found[2:]):
        assert BlockWriter().block(group) == b"".join(map(encoded, group))


def test_an_event_that_was_sent_does_not_change_later() -> None:
    made = events_for()
    first = [*made.of((Text(text="a"),))]
    before = repr(first)
    for event in (Text(text="b"), STOP, USAGE):
        list(made.of((event,)))
    assert repr(first) == before


def test_reasoning_is_an_item_before_the_text() -> None:
    reasoning, message = output(Reasoning(text="Let me "), Reasoning(text="see."), Text(text="Four."))
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Let me see."}]
    assert (reasoning["summary"], reasoning["encrypted_content"]) == ([], None)
    assert message["content"][0]["text"] == "Four."


def test_a_summary_has_events_of_its_own() -> None:
    found = told(Reasoning(text="Let me see."), STOP, USAGE, is_summarised=True)
    assert kinds(found)[3:7] == [
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    (item,) = found[-1]["response"]["output"]
    assert (item["summary"], item["content"]) == ([{"type": "summary_text", "text": "Let me see."}], [])


def test_reasoning_is_sealed_where_the_request_wants_it() -> None:
    (item,) = output(Reasoning(text="a"), Reasoning(text="b"), seals_reasoning=True)
    assert item["encrypted_content"] == "sealed(ab)"


def test_a_refusal_is_a_part_of_its_own() -> None:
    (item,) = output(Text(text="Well. "), Refusal(text="No"), Refusal(text="!"))
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal"]
    assert item["content"][1]["refusal"] == "No!"


def test_log_probabilities_come_with_their_text_if_wanted() -> None:
    entry = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    piece = (Text(text="a"), Logprobs(logprobs={"content": [entry]}))
    for has_logprobs in (True, False):
        made = events_for(has_logprobs=has_logprobs)
        found = [*made.of(piece), *made.of((STOP,)), *made.of((USAGE,))]
        (delta,) = [event for event in found if event["type"] == "response.output_text.delta"]
        assert delta["logprobs"] == ([entry] if has_logprobs else [])
        assert found[-1]["response"]["output"][0]["content"][0]["logprobs"] == delta["logprobs"]


# Calls of the client.


def test_a_call_is_an_item_with_its_arguments() -> None:
    begin = ToolCallPiece(index=0, id="call_1", name="weather", arguments="")
    pieces = [begin, *(ToolCallPiece(index=0, arguments=text) for text in ('{"city":', ' "a"}'))]
    found = told(*pieces, Finish(reason="tool_calls"), USAGE)
    assert kinds(found)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    (item,) = found[-1]["response"]["output"]
    assert (item["call_id"], item["name"], item["arguments"]) == ("call_1", "weather", '{"city": "a"}')


def test_the_name_of_a_call_may_come_in_pieces() -> None:
    pieces = [ToolCallPiece(index=0, id="a", name="get_"), ToolCallPiece(index=0, name="weather", arguments="{}")]
    (item,) = output(*pieces)
    assert item["name"] == "get_weather"


def test_interleaved_calls_keep_their_places() -> None:
    def piece(index: int, text: str, name: str | None = None) -> ToolCallPiece:
        return ToolCallPiece(index=index, id=f"call_{index}", name=name, arguments=text)

    items = output(piece(0, '{"a"', "f"), piece(1, '{"b"', "g"), piece(0, ": 1}"), piece(1, ": 2}"))
    assert [item["arguments"] for item in items] == ['{"a": 1}', '{"b": 2}']


def test_white_space_behind_a_complete_call_is_dropped() -> None:
    first = ToolCallPiece(index=0, id="a", name="f", arguments="{}")
    second = ToolCallPiece(index=1, id="b", name="f", arguments="{}")
    items = output(first, second, ToolCallPiece(index=0, arguments=" \n"))
    assert [item["arguments"] for item in items] == ["{}", "{}"]


def test_a_custom_call_has_an_input() -> None:
    (item,) = output(CustomCallPiece(index=0, id="a", name="run", input="ls"), CustomCallPiece(index=0, input=" -l"))
    assert (item["type"], item["input"]) == ("custom_tool_call", "ls -l")


# Calls of the host.


def test_a_call_of_the_host_is_told_as_it_happens() -> None:
    found = told(CALL_A, finished(CALL_A), Text(text="So."), STOP, USAGE)
    assert kinds(found)[2:8] == [
        "output_item.added",
        "mcp_call.in_progress",
        "mcp_call_arguments.delta",
        "mcp_call_arguments.done",
        "mcp_call.completed",
        "output_item.done",
    ]
    call, message = found[-1]["response"]["output"]
    assert (call["server_label"], call["name"], call["arguments"]) == ("stub", "echo", '{"x": 1}')
    assert (call["output"], call["error"], call["status"]) == ("done", None, "completed")
    assert message["content"][0]["text"] == "So."


def test_a_call_that_fails_has_an_error() -> None:
    found = told(CALL_A, finished(CALL_A, "no such file", is_error=True), STOP, USAGE)
    assert "response.mcp_call.failed" in [event["type"] for event in found]
    (call,) = found[-1]["response"]["output"]
    content = [{"type": "text", "text": "no such file"}]
    assert (call["output"], call["status"]) == (None, "failed")
    assert call["error"] == {"type": "mcp_tool_execution_error", "content": content}


def test_a_cancelled_call_has_an_error() -> None:
    (call,) = output(CALL_A, CallCancelled(id="a", name="stub_echo"))
    assert (call["status"], call["error"]["content"][0]["text"]) == ("failed", "The call was cancelled.")


def test_parallel_calls_are_open_together_and_share_their_turn() -> None:
    found = output(CALL_A, CALL_B, finished(CALL_B), finished(CALL_A), CALL_C, finished(CALL_C))
    ids = [parsed_host_call_id(item["id"]) for item in found]
    assert [each.call_id for each in ids] == ["a", "b", "c"]
    assert ids[0].turn == ids[1].turn != ids[2].turn


def test_the_tools_of_a_server_are_listed_once_in_a_conversation() -> None:
    tool = ListedTool(name="stub_echo", tool="echo", description="Says it again.", schema={"type": "object"})
    listed = ToolsListed(server="stub", tools=(tool,))
    found = told(listed, ToolsListed(server="other", error="it is not ready"), STOP, USAGE)
    assert kinds(found)[3:5] == ["mcp_list_tools.in_progress", "mcp_list_tools.completed"]
    assert "mcp_list_tools.failed" in kinds(found)
    mine, other = found[-1]["response"]["output"]
    assert mine["tools"] == [{"name": "echo", "description": "Says it again.", "input_schema": {"type": "object"}}]
    assert "error" not in mine
    assert (other["tools"], other["error"]) == ([], "it is not ready")
    assert output(listed, listed=frozenset({"stub"})) == []


def test_a_call_that_needs_approval_is_a_request() -> None:
    needed = ApprovalNeeded(id="a", name="stub_rm", server="stub", tool="rm", written='{"all": true}', turn=1)
    text, request = output(Text(text="Shall I?"), needed)
    assert text["type"] == "message"
    assert (request["type"], request["name"], request["arguments"]) == ("mcp_approval_request", "rm", '{"all": true}')
    assert request["id"].startswith("mcpr_")
    assert parsed_host_call_id(request["id"]).call_id == "a"


def test_an_approved_call_names_its_request() -> None:
    approved = CallStarted(id="a", name="stub_rm", server="stub", tool="rm", written="{}", turn=0)
    (call,) = output(approved, finished(approved), approvals={"a": "mcpr_1_a"})
    assert call["approval_request_id"] == "mcpr_1_a"


def test_other_events_of_the_host_are_fields_of_events_that_clients_pass_over() -> None:
    found = told(
        Queued(position=2),
        CALL_A,
        CallProgressed(id="a", progress=0.5),
        Question(id="q", kind="approval"),
        ToolsMissing(servers=(("x", "failed"),)),
        finished(CALL_A),
        STOP,
        USAGE,
    )
    own = {name: event[name] for event in found for name in event if name.startswith("modelhost.")}
    assert {event["type"] for event in found if own.keys() & event.keys()} == {"keepalive"}
    assert own["modelhost.queued"]["position"] == 2
    assert own["modelhost.question"]["id"] == "q"
    assert found[-1]["response"]["modelhost.tools"] == {"missing": [{"server": "x", "state": "failed"}]}


# Ends.


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        (STOP, "completed", None),
        (Finish(reason="tool_calls"), "completed", None),
        (Finish(reason="length"), "incomplete", "max_output_tokens"),
        (Finish(reason="content_filter"), "incomplete", "content_filter"),
        (Finish(reason="length", details=FinishDetails(kind="token_limit")), "incomplete", "max_output_tokens"),
        (Finish(reason="length", details=FinishDetails(kind="turn_limit")), "incomplete", "turn_limit"),
        (Finish(reason="stop", details=FinishDetails(kind="schema_violated")), "completed", None),
    ],
    ids=str,
)
def test_an_answer_is_complete_or_says_why_not(finish: Finish, status: str, reason: str | None) -> None:
    last = told(Text(text="a"), finish, USAGE)[-1]
    assert last["type"] == f"response.{status}"
    response = last["response"]
    assert (response["status"], response["output"][0]["status"]) == (status, status)
    assert (response["incomplete_details"] or {}).get("reason") == reason
    if finish.details is not None:
        assert response["modelhost.finish_details"]["type"] == finish.details.kind


def test_an_answer_that_fails_keeps_what_was_written() -> None:
    made = events_for()
    found = [*made.of((Text(text="a b"),)), *made.fail(WorkerCrashed("It is gone.", model="m", worker="w"))]
    check(found)
    response = found[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "worker_crashed")
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "a b"


def test_an_answer_ends_once() -> None:
    made = events_for()
    for event in (Text(text="a"), STOP, USAGE):
        list(made.of((event,)))
    assert made.is_over
    for again in (
        made.fail(QueueFull("No.", retry_after_seconds=1)),
        made.end(None),
        made.stop("host_stopped"),
        made.cancel(),
    ):
        assert list(again) == []


def test_an_answer_may_be_stopped_or_cancelled_before_it_began() -> None:
    stopped = list(events_for().stop("host_stopped"))
    check(stopped)
    assert stopped[-1]["response"]["incomplete_details"] == {"reason": "host_stopped"}
    cancelled = list(events_for().cancel())
    check(cancelled)
    assert cancelled[-1]["response"]["status"] == "cancelled"


def test_usage_has_all_its_fields() -> None:
    given = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert usage_of(given) == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 14,
    }
    assert usage_of({"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None})["total_tokens"] == 3
