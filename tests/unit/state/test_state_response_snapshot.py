"""A response as its events tell it."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.state.stored_response import ResponseSnapshot, ended, terminal_event
from tests.support.response_items import body, message

EMPTY = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
PART = {"type": "output_text", "text": ""}


def told(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": 0, **fields}


def snapshot(*events: dict[str, Any]) -> ResponseSnapshot:
    made = ResponseSnapshot(body("resp_1", "in_progress"))
    made.add(events)
    return made


def test_an_unfinished_message_has_the_text_that_was_told_of_it() -> None:
    made = snapshot(
        told("output_item.added", item=EMPTY),
        told("content_part.added", content_index=0, part=PART),
        told("output_text.delta", content_index=0, delta="Hel"),
        told("output_text.delta", content_index=0, delta="lo"),
    )
    assert made.body["output"] == [{**EMPTY, "content": [{**PART, "text": "Hello"}]}]


def test_unfinished_calls_and_reasoning_grow_in_their_own_fields() -> None:
    call = {"type": "function_call", "id": "fc_1", "arguments": "", "status": "in_progress"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    part = {"type": "summary_text", "text": ""}
    made = snapshot(
        told("output_item.added", item=thought),
        told("reasoning_summary_part.added", summary_index=0, part=part),
        told("reasoning_summary_text.delta", summary_index=0, delta="hm"),
        told("output_item.added", item=call) | {"output_index": 1},
        told("function_call_arguments.delta", delta='{"a"') | {"output_index": 1},
    )
    assert made.body["output"] == [
        {**thought, "summary": [{**part, "text": "hm"}]},
        {**call, "arguments": '{"a"'},
    ]


def test_a_finished_item_is_as_its_last_event_says() -> None:
    done = message("msg_1", "Hello", role="assistant")
    made = snapshot(told("output_item.added", item=EMPTY), told("output_item.done", item=done))
    assert made.body["output"] == [done]


def test_the_terminal_event_says_everything() -> None:
    whole = body("resp_1")
    made = snapshot(told("output_item.added", item=EMPTY), terminal_event(whole, 3))
    assert made.body == whole


def test_items_and_statuses_are_changes_and_texts_are_none() -> None:
    made = ResponseSnapshot(body("resp_1", "queued"))
    assert made.add([{"type": "response.in_progress", "response": body("resp_1", "in_progress")}])
    assert made.add([told("output_item.added", item=EMPTY)])
    assert not made.add([told("output_text.delta", content_index=0, delta="x"), {"type": "modelhost.waiting"}])


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("completed", "response.completed"),
        ("failed", "response.failed"),
        ("incomplete", "response.incomplete"),
        ("cancelled", "response.incomplete"),
    ],
)
def test_every_final_status_has_a_terminal_event_that_clients_know(status: str, name: str) -> None:
    assert terminal_event(body("resp_1", status), 7)["type"] == name


def test_what_ends_too_early_is_incomplete_with_its_unfinished_items() -> None:
    done = message("msg_0", role="assistant")
    cut = ended(body("resp_1", "in_progress", output=[done, EMPTY]), "incomplete", "host_stopped")
    assert cut["output"] == [done, {**EMPTY, "status": "incomplete"}]
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "host_stopped"})
