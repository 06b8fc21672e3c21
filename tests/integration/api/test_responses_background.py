"""Responses in the background: polled, followed from any host, cancelled; nobody has to wait for them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from tests.integration.api.talk import Talk
from tests.support.eventually import eventually
from tests.support.serving import ServedHost

RESPONSES = "/v1/responses"
UNFINISHED = ("queued", "in_progress")
LONG = "/tokens 2000 /slow 20"


def start(client: openai.OpenAI, text: str, **fields: Any) -> Response:
    made = client.responses.create(model="scripted", input=text, background=True, **fields)
    assert isinstance(made, Response)
    return made


def finished(client: openai.OpenAI, response_id: str) -> Response:
    found: list[Response] = []

    def is_finished() -> bool:
        found[:] = [client.responses.retrieve(response_id)]
        return found[0].status not in UNFINISHED

    eventually(is_finished)
    return found[0]


def events(client: openai.OpenAI, response_id: str, after: int | None = None) -> list[ResponseStreamEvent]:
    given = {} if after is None else {"starting_after": after}
    with client.responses.retrieve(response_id, stream=True, **given) as stream:
        return list(stream)


def check(told: Sequence[ResponseStreamEvent]) -> None:
    """The events of one response: created first, one terminal event last, numbered without gaps."""
    kinds = [event.type for event in told]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert [kind for kind in kinds if kind in ENDS] == [kinds[-1]]
    assert [event.sequence_number for event in told] == list(range(len(told)))
    statuses = [event.response.status for event in told if hasattr(event, "response")]
    assert statuses[:3] == ["queued", "queued", "in_progress"]


ENDS = ("response.completed", "response.failed", "response.incomplete")


def test_a_background_response_is_answered_at_once_and_polled(any_talk: Talk) -> None:
    client = any_talk.host.client()
    made = client.responses.create(model=any_talk.model, input="Hello!", max_output_tokens=8, background=True)
    assert (made.status, made.output, made.background) == ("queued", [], True)
    found = finished(client, made.id)
    assert found.status in {"completed", "incomplete"}
    assert found.output_text
    assert found.usage is not None
    assert (found.id, found.background, found.created_at) == (made.id, True, made.created_at)


def test_its_events_are_replayed_whole_or_from_a_number_on(scripted: Talk) -> None:
    client = scripted.host.client()
    made = finished(client, start(client, "/echo one two three").id)
    told = events(client, made.id)
    check(told)
    last = told[-1]
    assert last.type == "response.completed"
    assert last.response.to_dict() == made.to_dict()
    for after in (0, 3, len(told) - 2, len(told) - 1, len(told) + 5):
        assert [each.to_dict() for each in events(client, made.id, after)] == [
            each.to_dict() for each in told[after + 1 :]
        ]


def test_a_stream_of_it_may_break_off_and_be_taken_up_by_another_host(
    start_host: Callable[..., ServedHost], database_url: str
) -> None:
    one, other = (start_host(engine="scripted", database_url=database_url) for _ in range(2))
    seen: list[ResponseStreamEvent] = []
    with one.client().responses.create(
        model="scripted", input="/tokens 60 /slow 30", background=True, stream=True
    ) as stream:
        for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
    created = seen[0]
    assert created.type == "response.created"
    rest = events(other.client(), created.response.id, seen[-1].sequence_number)
    told = [*seen, *rest]
    check(told)
    last = told[-1]
    assert last.type == "response.completed"
    deltas = [event.delta for event in told if event.type == "response.output_text.delta"]
    assert "".join(deltas) == last.response.output_text
    assert len(deltas) > 5
    assert other.client().responses.retrieve(created.response.id).output_text == last.response.output_text


def test_its_output_so_far_is_shown_while_it_is_made(scripted: Talk) -> None:
    client = scripted.host.client()
    made = start(client, LONG)
    eventually(lambda: client.responses.retrieve(made.id).status == "in_progress")
    eventually(lambda: bool(client.responses.retrieve(made.id).output))
    client.responses.cancel(made.id)


@pytest.mark.parametrize("where", ["the same host", "another host"])
def test_it_is_cancelled_from_any_host_once(
    start_host: Callable[..., ServedHost], database_url: str, where: str
) -> None:
    host = start_host(engine="scripted", database_url=database_url)
    other = start_host(engine="scripted", database_url=database_url) if where == "another host" else host
    made = start(host.client(), LONG)
    eventually(lambda: bool(other.client().responses.retrieve(made.id).output))
    cancelled = other.client().responses.cancel(made.id)
    assert (cancelled.status, cancelled.completed_at) == ("cancelled", None)
    assert cancelled.output_text
    assert other.client().responses.cancel(made.id).to_dict() == cancelled.to_dict()
    host.wait_for_metric("modelhost_requests_in_flight", 0)
    assert host.client().responses.retrieve(made.id).to_dict() == cancelled.to_dict()
    told = events(host.client(), made.id)
    check(told)
    assert told[-1].type == "response.incomplete"


def test_one_that_is_finished_stays_as_it_is_when_it_is_cancelled(scripted: Talk) -> None:
    client = scripted.host.client()
    made = finished(client, start(client, "/echo done").id)
    assert client.responses.cancel(made.id).to_dict() == made.to_dict()


def test_one_that_is_deleted_is_made_no_longer(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted")
    made = start(host.client(), LONG)
    host.wait_for_metric("modelhost_requests_in_flight", 1)
    host.client().responses.delete(made.id)
    host.wait_for_metric("modelhost_requests_in_flight", 0)
    with pytest.raises(openai.NotFoundError):
        host.client().responses.retrieve(made.id)


def test_a_stream_of_one_that_is_deleted_ends_with_a_numbered_error(scripted: Talk) -> None:
    client = scripted.host.client()
    made = start(client, LONG)
    told = []
    with scripted.host.http.stream("GET", f"{RESPONSES}/{made.id}", params={"stream": "true"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                told.append(json.loads(line.removeprefix("data: ")))
                if len(told) == 1:
                    client.responses.delete(made.id)
    assert (told[-1]["type"], told[-1]["code"]) == ("error", "response_not_found")
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


def test_one_that_is_not_to_be_stored_is_refused(scripted: Talk) -> None:
    answer = scripted.post(RESPONSES, {"input": "x", "background": True, "store": False})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_request", "background")


def test_one_that_cannot_be_made_failed(scripted: Talk) -> None:
    client = scripted.host.client()
    found = finished(client, start(client, "/error 400").id)
    assert found.status == "failed"
    assert found.error is not None
    told = events(client, found.id)
    assert told[-1].type == "response.failed"
    assert [event.sequence_number for event in told] == list(range(len(told)))


def test_one_whose_worker_crashes_failed(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted")
    found = finished(host.client(), start(host.client(), "/crash 3").id)
    assert (found.status, found.error.code if found.error else None) == ("failed", "worker_crashed")
    check(events(host.client(), found.id))


def test_it_is_continued_when_it_is_finished_and_not_before(scripted: Talk) -> None:
    client = scripted.host.client()
    made = start(client, LONG)
    with pytest.raises(openai.BadRequestError, match="continue it when it is finished"):
        client.responses.create(model="scripted", input="x", previous_response_id=made.id)
    client.responses.cancel(made.id)
    made = finished(client, start(client, "/echo one").id)
    second = client.responses.create(model="scripted", input="/echo two", previous_response_id=made.id)
    assert second.output_text == "two"


def test_it_adds_to_its_conversation_when_it_is_finished(scripted: Talk) -> None:
    client = scripted.host.client()
    conversation = client.conversations.create()
    made = finished(client, start(client, "/echo kept", conversation=conversation.id).id)
    items = client.conversations.items.list(conversation.id, order="asc").data
    assert [item.id for item in items][1:] == [item.id for item in made.output]


def test_a_host_that_stops_leaves_it_incomplete(start_host: Callable[..., ServedHost], database_url: str) -> None:
    host = start_host(engine="scripted", database_url=database_url)
    made = start(host.client(), LONG)
    eventually(lambda: bool(host.client().responses.retrieve(made.id).output))
    host.send_signal(signal.SIGTERM)
    assert host.wait() == 0
    assert "background_fault" not in host.stderr
    assert_stopped(start_host(engine="scripted", database_url=database_url).client(), made.id)


def test_a_host_that_is_killed_leaves_it_incomplete(start_host: Callable[..., ServedHost], database_url: str) -> None:
    host, other = (start_host(engine="scripted", database_url=database_url) for _ in range(2))
    made = start(host.client(), LONG)
    eventually(lambda: bool(host.client().responses.retrieve(made.id).output))
    with other.http.stream("GET", f"{RESPONSES}/{made.id}?stream=true") as followed:
        lines = followed.iter_lines()
        next(line for line in lines if line.startswith("data: "))
        host.process.kill()
        host.process.wait()
        told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert told[-1]["type"] == "response.incomplete"
    assert_stopped(other.client(), made.id)


def assert_stopped(client: openai.OpenAI, response_id: str) -> None:
    found = client.responses.retrieve(response_id)
    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "host_stopped"  # type: ignore[comparison-overlap]  # the host's own
    assert found.output_text
    check(events(client, response_id))
    assert client.responses.cancel(response_id).to_dict() == found.to_dict()


def test_many_at_once_are_all_made(start_host: Callable[..., ServedHost]) -> None:
    client = start_host(engine="scripted", max_in_flight=64, slots=64).client()
    made = {number: start(client, f"/echo number-{number}").id for number in range(40)}
    for number, response_id in made.items():
        assert finished(client, response_id).output_text == f"number-{number}"
        check(events(client, response_id))


def test_its_client_may_leave(scripted: Talk) -> None:
    with scripted.host.client(max_retries=0) as leaving:
        made = start(leaving, "/tokens 20 /slow 40")
    client = scripted.host.client()
    eventually(partial(_is_complete, client, made.id))


def _is_complete(client: openai.OpenAI, response_id: str) -> bool:
    return client.responses.retrieve(response_id).status == "completed"
