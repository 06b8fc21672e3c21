"""Conversations: with OpenAI's client, and as plain HTTP."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest

from tests.integration.api.talk import Talk

CONVERSATIONS = "/v1/conversations"


@pytest.fixture(scope="module")
def client(scripted: Talk) -> openai.OpenAI:
    return scripted.host.client()


def texts(client: openai.OpenAI, conversation_id: str) -> list[str]:
    items = client.conversations.items.list(conversation_id, order="asc")
    return [part.text for item in items if item.type == "message" for part in item.content if hasattr(part, "text")]


def said(text: str) -> Any:
    return {"type": "message", "role": "user", "content": text}


def test_a_conversation_is_created_changed_and_deleted(client: openai.OpenAI) -> None:
    made = client.conversations.create(metadata={"topic": "x"}, items=[said("hello")])
    assert (made.object, made.metadata) == ("conversation", {"topic": "x"})
    assert client.conversations.retrieve(made.id) == made
    assert client.conversations.update(made.id, metadata={"topic": "y"}).metadata == {"topic": "y"}
    assert texts(client, made.id) == ["hello"]
    deleted = client.conversations.delete(made.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "conversation.deleted")
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)


def test_a_conversation_needs_no_body(scripted: Talk) -> None:
    made = scripted.host.http.post(CONVERSATIONS)
    assert made.status_code == 200
    assert made.json()["metadata"] == {}


def test_responses_go_on_in_a_conversation_and_add_to_it(client: openai.OpenAI) -> None:
    made = client.conversations.create()
    for number in range(3):
        answer = client.responses.create(model="scripted", input=f"/echo {number}", conversation=made.id)
        assert answer.output_text == str(number)
        assert answer.conversation is not None
        assert answer.conversation.id == made.id
    assert texts(client, made.id) == ["/echo 0", "0", "/echo 1", "1", "/echo 2", "2"]
    assert len(client.responses.input_items.list(answer.id).data) == 5


def test_a_conversation_is_the_same_prompt_as_its_items(nano: Talk) -> None:
    client = nano.host.client()
    asked: dict[str, Any] = {"model": nano.model, "max_output_tokens": 12, "temperature": 0}
    made = client.conversations.create()
    first = client.responses.create(input="Tell me a story.", conversation=made.id, **asked)
    second = client.responses.create(input="Go on.", conversation=made.id, **asked)
    chained = client.responses.create(input="Go on.", previous_response_id=first.id, **asked)
    assert second.output_text == chained.output_text
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens > 0


def test_items_are_added_listed_retrieved_and_deleted(client: openai.OpenAI) -> None:
    made = client.conversations.create()
    added = client.conversations.items.create(made.id, items=[said(f"text {number}") for number in range(5)])
    assert [item.type for item in added.data] == ["message"] * 5
    newest_first = list(client.conversations.items.list(made.id, limit=2))
    assert [item.id for item in newest_first] == [item.id for item in added.data][::-1]
    one = added.data[2]
    assert one.id is not None
    assert client.conversations.items.retrieve(one.id, conversation_id=made.id) == one
    assert client.conversations.items.delete(one.id, conversation_id=made.id).id == made.id
    assert texts(client, made.id) == ["text 0", "text 1", "text 3", "text 4"]
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(one.id, conversation_id=made.id)


def test_an_item_that_is_there_is_not_added_twice(client: openai.OpenAI) -> None:
    made = client.conversations.create(items=[said("once")])
    (item,) = client.conversations.items.list(made.id).data
    client.conversations.items.create(made.id, items=[item.to_dict()])  # type: ignore[list-item]
    assert texts(client, made.id) == ["once"]


def test_an_item_whose_id_has_a_slash_is_retrieved_and_deleted(scripted: Talk) -> None:
    made = scripted.post(CONVERSATIONS, {"items": [{**said("a"), "id": "a/b"}]}).json()["id"]
    path = f"{CONVERSATIONS}/{made}/items/a%2Fb"
    assert scripted.host.http.get(path).json()["id"] == "a/b"
    assert scripted.host.http.delete(path).status_code == 200
    assert_error(scripted.host.http.get(path), 404, "item_not_found", None)


def test_what_was_there_is_answered_as_it_stays(client: openai.OpenAI, scripted: Talk) -> None:
    made = client.conversations.create(items=[said("once")])
    (item,) = client.conversations.items.list(made.id).data
    changed = {**said("changed"), "id": item.id}
    answer = scripted.post(f"{CONVERSATIONS}/{made.id}/items", {"items": [said("new"), changed]}).json()
    assert [each["content"][0]["text"] for each in answer["data"]] == ["new", "once"]
    twice = scripted.post(CONVERSATIONS, {"items": [{**said("a"), "id": "msg_1"}, {**said("b"), "id": "msg_1"}]})
    assert_error(twice, 400, "invalid_request", "items[1].id")


def test_a_response_that_is_not_stored_adds_nothing(client: openai.OpenAI) -> None:
    made = client.conversations.create(items=[said("before")])
    client.responses.create(model="scripted", input="/echo x", conversation=made.id, store=False)
    assert texts(client, made.id) == ["before"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("POST", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("GET", "/items", None),
        ("POST", "/items", {"items": [said("x")]}),
        ("GET", "/items/msg_1", None),
        ("DELETE", "/items/msg_1", None),
    ],
)
def test_an_unknown_conversation_is_not_found(scripted: Talk, method: str, path: str, body: Any) -> None:
    answer = scripted.host.http.request(method, f"{CONVERSATIONS}/conv_unknown{path}", json=body)
    assert_error(answer, 404, "conversation_not_found", "conversation")


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_response_in_an_unknown_conversation_is_not_found(scripted: Talk, is_streamed: bool) -> None:
    answer = scripted.post("/v1/responses", {"input": "x", "conversation": "conv_unknown", "stream": is_streamed})
    assert_error(answer, 404, "conversation_not_found", "conversation")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"items": [said("x")] * 21}),
        ("", {"items": "x"}),
        ("", {"items": [{"type": "message", "role": "user"}]}),
        ("", {"metadata": {"n": 1}}),
        ("", {"metadata": {"k" * 65: "a"}}),
        ("/{id}", {"metadata": {"k": "a" * 513}}),
        ("", {"items": [{"role": "user", "content": [{"type": "input_image", "image_url": None}]}]}),
        ("/{id}", {}),
        ("/{id}/items", {"items": []}),
        ("/{id}/items", {}),
    ],
)
def test_a_body_that_cannot_be_is_refused(scripted: Talk, path: str, body: Any) -> None:
    made = scripted.host.client().conversations.create()
    answer = scripted.post(f"{CONVERSATIONS}{path.format(id=made.id)}", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


def test_an_id_that_cannot_be_stored_is_named(scripted: Talk) -> None:
    made = scripted.host.client().conversations.create()
    bad = {**said("x"), "id": "x" * 300}
    for path, body, param in (
        (CONVERSATIONS, {"items": [said("y"), bad]}, "items[1].id"),
        (f"{CONVERSATIONS}/{made.id}/items", {"items": [bad]}, "items[0].id"),
        ("/v1/responses", {"input": [said("y"), bad], "conversation": made.id}, "input[1].id"),
    ):
        assert_error(scripted.post(path, body), 400, "invalid_request", param)


def test_an_unknown_item_is_not_found(scripted: Talk) -> None:
    made = scripted.host.client().conversations.create()
    for method in ("GET", "DELETE"):
        answer = scripted.host.http.request(method, f"{CONVERSATIONS}/{made.id}/items/msg_unknown")
        assert_error(answer, 404, "item_not_found")
    after = scripted.host.http.get(f"{CONVERSATIONS}/{made.id}/items?after=msg_unknown")
    assert_error(after, 404, "item_not_found", "after")


def assert_error(answer: httpx2.Response, status: int, code: str, param: str | None = None) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
