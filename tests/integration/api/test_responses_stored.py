"""Stored responses: retrieved, continued, deleted; and what is said where they are not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types.responses import Response, ResponseInputText
from openai.types.responses.response_input_message_item import ResponseInputMessageItem

from tests.integration.api.talk import Talk
from tests.support.serving import HostPool, ServedHost

RESPONSES = "/v1/responses"


@pytest.fixture(scope="module")
def client(scripted: Talk) -> openai.OpenAI:
    return scripted.host.client()


def create(client: openai.OpenAI, text: str, **fields: Any) -> Response:
    answer = client.responses.create(model="scripted", input=text, **fields)
    assert isinstance(answer, Response)
    return answer


def assert_error(answer: httpx2.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    return error


def test_a_stored_response_is_retrieved_as_it_was(any_talk: Talk) -> None:
    client = any_talk.host.client()
    made = client.responses.create(model=any_talk.model, input="Hello!", max_output_tokens=8, metadata={"topic": "x"})
    found = client.responses.retrieve(made.id)
    assert found.to_dict() == made.to_dict()
    assert found.store is True


def test_a_streamed_response_is_stored_before_its_terminal_event(client: openai.OpenAI) -> None:
    with client.responses.create(model="scripted", input="/echo stored", stream=True) as stream:
        for event in stream:
            if event.type == "response.completed":
                assert client.responses.retrieve(event.response.id).to_dict() == event.response.to_dict()
                return
    pytest.fail("there was no terminal event")


def test_a_response_that_is_not_to_be_stored_is_not_there(client: openai.OpenAI) -> None:
    made = create(client, "/echo x", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_response_goes_on_with_the_one_before_it(nano: Talk) -> None:
    client = nano.host.client()
    asked: dict[str, Any] = {"model": nano.model, "max_output_tokens": 12, "temperature": 0}
    first = client.responses.create(input="Tell me a story about a cat.", **asked)
    second = client.responses.create(input="Go on.", previous_response_id=first.id, **asked)
    whole = [
        {"role": "user", "content": "Tell me a story about a cat."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "Go on."},
    ]
    together = client.responses.create(input=whole, **asked)
    assert second.previous_response_id == first.id
    assert second.output_text == together.output_text
    assert second.usage is not None
    assert together.usage is not None
    assert second.usage.input_tokens == together.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens > 0


def test_the_input_items_of_a_response_are_all_that_it_answers(client: openai.OpenAI) -> None:
    first = create(client, "/echo one")
    second = create(client, "/echo two", previous_response_id=first.id)
    found = list(client.responses.input_items.list(second.id, order="asc"))
    texts = [part.text for item in found for part in item.content if isinstance(part, ResponseInputText)]
    assert texts == ["/echo one", "/echo two"]
    assert isinstance(found[0], ResponseInputMessageItem)
    assert found[1].id == first.output[0].id


def test_input_items_come_in_pages_in_either_order(client: openai.OpenAI) -> None:
    given = [{"role": "user", "content": f"/echo {number}"} for number in range(5)]
    made = client.responses.create(model="scripted", input=given)
    ascending = [item.id for item in client.responses.input_items.list(made.id, order="asc", limit=2)]
    newest_first = [item.id for item in client.responses.input_items.list(made.id, limit=3)]
    assert len(set(ascending)) == 5
    assert newest_first == ascending[::-1]


def test_a_deleted_response_is_gone(client: openai.OpenAI, scripted: Talk) -> None:
    made = create(client, "/echo x")
    deleted = scripted.host.http.delete(f"{RESPONSES}/{made.id}")
    assert deleted.json() == {"id": made.id, "object": "response", "deleted": True}
    assert_error(scripted.host.http.get(f"{RESPONSES}/{made.id}"), 404, "response_not_found")
    assert_error(scripted.host.http.delete(f"{RESPONSES}/{made.id}"), 404, "response_not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "?stream=true"), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")],
)
def test_an_unknown_response_is_not_found(scripted: Talk, method: str, path: str) -> None:
    answer = scripted.host.http.request(method, f"{RESPONSES}/resp_unknown{path}")
    error = assert_error(answer, 404, "response_not_found")
    assert "resp_unknown" in error["message"]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_deleted_predecessor_is_told_of_in_openais_words(scripted: Talk, is_streamed: bool) -> None:
    client = scripted.host.client()
    first = create(client, "/echo one")
    second = create(client, "/echo two", previous_response_id=first.id)
    client.responses.delete(first.id)
    for previous in (first.id, second.id):
        body = {"input": "x", "previous_response_id": previous, "stream": is_streamed}
        answer = scripted.post(RESPONSES, body)
        error = assert_error(answer, 404, "previous_response_not_found", "previous_response_id")
        assert error["message"].startswith(f"Previous response with id '{first.id}' not found.")
    assert client.responses.retrieve(second.id).id == second.id


def test_an_item_is_referred_to_by_its_id(scripted: Talk) -> None:
    client = scripted.host.client()
    first = create(client, "/echo first")
    reference: Any = {"type": "item_reference", "id": first.output[0].id}
    given: list[Any] = [{"role": "user", "content": "x"}, reference, {"role": "user", "content": "/echo second"}]
    second = client.responses.create(model="scripted", input=given)
    assert second.output_text == "second"
    assert client.responses.input_items.list(second.id, order="asc").data[1].id == first.output[0].id
    unknown = scripted.post(RESPONSES, {"input": [{"type": "item_reference", "id": "msg_unknown"}]})
    assert unknown.status_code == 404


def test_the_items_of_a_response_stay_out_of_those_of_others(client: openai.OpenAI) -> None:
    first = create(client, "/echo one")
    branches = [create(client, f"/echo {name}", previous_response_id=first.id) for name in ("left", "right")]
    for name, branch in zip(("left", "right"), branches, strict=True):
        items = client.responses.input_items.list(branch.id, order="asc").data
        assert [item.content[0].text for item in items if item.role == "user"] == ["/echo one", f"/echo {name}"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=msg_unknown", "after"),
    ],
)
def test_a_page_that_cannot_be_is_refused(scripted: Talk, query: str, param: str) -> None:
    made = create(scripted.host.client(), "/echo x")
    assert_error(scripted.host.http.get(f"{RESPONSES}/{made.id}/input_items?{query}"), 400, "invalid_request", param)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=perhaps", "stream"),
        ("stream=true&starting_after=-1", "starting_after"),
        ("include=foo", "include"),
        ("include[]=reasoning.encrypted_content&include[]=foo", "include"),
    ],
)
def test_a_query_that_cannot_be_is_refused(scripted: Talk, query: str, param: str) -> None:
    made = create(scripted.host.client(), "/echo x")
    assert_error(scripted.host.http.get(f"{RESPONSES}/{made.id}?{query}"), 400, "invalid_request", param)


def test_what_openais_clients_include_is_accepted(scripted: Talk) -> None:
    client = scripted.host.client()
    made = create(client, "/echo x")
    assert client.responses.retrieve(made.id, include=["reasoning.encrypted_content"]).id == made.id


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_path_that_counts_is_no_response(scripted: Talk, method: str) -> None:
    answer = scripted.host.http.request(method, f"{RESPONSES}/input_tokens", json={"input": "a"})
    assert_error(answer, 404, "response_not_found", None)


def test_an_id_that_no_item_can_have_is_not_found(start_host: Callable[..., ServedHost], database_url: str) -> None:
    host = start_host(engine="scripted", database_url=database_url)
    given = [{"type": "item_reference", "id": "a\0b"}, {"role": "user", "content": "x"}]
    assert_error(host.http.post(RESPONSES, json={"input": given}), 404, "not_found", "input[0].id")
    made = host.http.post("/v1/conversations", json={}).json()["id"]
    answer = host.http.get(f"/v1/conversations/{made}/items?after=%00")
    assert_error(answer, 404, "item_not_found", "after")


def test_a_response_in_the_foreground_is_not_cancelled_and_its_events_are_not_kept(scripted: Talk) -> None:
    made = create(scripted.host.client(), "/echo x")
    cancelled = scripted.host.http.post(f"{RESPONSES}/{made.id}/cancel")
    assert_error(cancelled, 400, "invalid_request", "response_id")
    streamed = scripted.host.http.get(f"{RESPONSES}/{made.id}?stream=true")
    assert_error(streamed, 400, "invalid_request", "stream")


def test_what_was_made_with_another_key_is_not_there(hosts: HostPool) -> None:
    host = hosts.host(engine="scripted", api_keys=["ada=key-of-ada", "eve=key-of-eve"])
    ada, eve = host.client(api_key="key-of-ada"), host.client(api_key="key-of-eve")
    made = create(ada, "/echo secret", background=True)
    conversation = ada.conversations.create()
    for look in (
        lambda: eve.responses.retrieve(made.id),
        lambda: eve.responses.cancel(made.id),
        lambda: eve.responses.delete(made.id),
        lambda: eve.responses.input_items.list(made.id),
        lambda: create(eve, "x", previous_response_id=made.id),
        lambda: create(eve, "x", conversation=conversation.id),
        lambda: eve.conversations.retrieve(conversation.id),
        lambda: eve.conversations.items.list(conversation.id),
    ):
        with pytest.raises(openai.NotFoundError):
            look()
    assert ada.responses.retrieve(made.id).id == made.id


def test_another_host_of_the_database_goes_on_with_a_response(
    start_host: Callable[..., ServedHost], database_url: str
) -> None:
    one, other = (start_host(engine="scripted", database_url=database_url) for _ in range(2))
    first = create(one.client(), "/echo one")
    second = create(other.client(), "/echo two", previous_response_id=first.id)
    assert one.client().responses.retrieve(second.id).output_text == "two"


def test_without_a_database_a_response_is_refused_before_it_is_made(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    file = tmp_path / "a file"
    file.write_text("this is no directory")
    host = start_host(engine="scripted", data_dir=str(file))
    refused = host.http.post(RESPONSES, json={"input": "/echo x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
    assert host.http.post(RESPONSES, json={"input": "/echo x", "store": False}).status_code == 200


def test_stored_responses_are_counted(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", max_responses=2)
    for number in range(3):
        create(host.client(), f"/echo {number}")
    host.wait_for_metric("modelhost_stored_responses", 2)
    host.wait_for_metric("modelhost_dropped_responses_total", 1)
    assert host.metric("modelhost_stored_response_bytes") > 0


async def test_a_response_whose_client_leaves_is_not_stored(scripted: Talk) -> None:
    async with scripted.host.async_client() as client:
        stream = await client.responses.create(model="scripted", input="/tokens 400 /slow 20", stream=True)
        async with aclosing(stream):
            async for event in stream:
                if event.type == "response.created":
                    made = event.response.id
                    break
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made)
