"""Compaction: a conversation made shorter, which only the hosts of its database open again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.api.talk import Talk
from tests.support.serving import ServedHost

COMPACT, RESPONSES = "/v1/responses/compact", "/v1/responses"


def said(text: str) -> Any:
    return {"role": "user", "content": text}


CONVERSATION: list[Any] = [
    said("What is the capital of France?"),
    {"role": "assistant", "content": "Paris."},
    said("And of Spain?"),
    {"role": "assistant", "content": "Madrid."},
]


def test_a_conversation_becomes_its_users_messages_and_one_sealed_item(any_talk: Talk) -> None:
    client = any_talk.host.client()
    made = client.responses.compact(model=any_talk.model, input=CONVERSATION)
    assert made.object == "response.compaction"
    assert [item.type for item in made.output] == ["message", "message", "compaction"]
    users = [item for item in made.output if item.type == "message"]
    assert [item.role for item in users] == ["user", "user"]  # type: ignore[comparison-overlap]
    sealed = made.output[-1]
    assert sealed.type == "compaction"
    assert "Madrid" not in sealed.encrypted_content
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens > 0


def compacted(host: ServedHost) -> list[Any]:
    items: list[Any] = host.http.post(COMPACT, json={"model": None, "input": CONVERSATION}).json()["output"]
    return items


def test_a_compacted_conversation_goes_on(any_talk: Talk) -> None:
    client = any_talk.host.client()
    given = [*compacted(any_talk.host), said("And of Italy?")]
    answer = client.responses.create(model=any_talk.model, input=given, max_output_tokens=8)
    assert answer.status in {"completed", "incomplete"}
    again = client.responses.compact(model=any_talk.model, input=given)
    assert [item.type for item in again.output] == ["message", "message", "message", "compaction"]


def test_the_model_gets_the_summary_in_place_of_the_conversation(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", engine_options={"text": "the capitals were named"})
    talk = Talk(host)
    given = compacted(host)
    summary = [{"role": "assistant", "content": "Summary of the conversation so far:\n\nthe capitals were named"}]
    users = [item for item in CONVERSATION if item["role"] == "user"]
    counts = [
        talk.post("/v1/responses/input_tokens", {"input": each}).json()["input_tokens"]
        for each in (given, [*users, *summary])
    ]
    assert counts[0] == counts[1]


def test_a_stored_response_and_a_conversation_are_compacted(scripted: Talk) -> None:
    client = scripted.host.client()
    first = client.responses.create(model="scripted", input="/echo one")
    second = client.responses.create(model="scripted", input="/echo two", previous_response_id=first.id)
    made = client.responses.compact(model="scripted", previous_response_id=second.id)
    assert [item.type for item in made.output] == ["message", "message", "compaction"]


def test_hosts_of_one_database_open_it_and_others_do_not(
    start_host: Callable[..., ServedHost], database_url: str
) -> None:
    one, other = (start_host(engine="scripted", database_url=database_url) for _ in range(2))
    given = compacted(one)
    assert other.http.post(RESPONSES, json={"input": given}).status_code == 200
    stranger = start_host(engine="scripted")
    assert_refused(stranger, given)


@pytest.mark.parametrize("content", ["", "nonsense", "mhs1.AAAA"])
def test_what_no_host_sealed_is_refused(scripted: Talk, content: str) -> None:
    assert_refused(scripted.host, [{"type": "compaction", "encrypted_content": content}, said("x")])


def test_it_is_not_read_as_reasoning(scripted: Talk) -> None:
    (*_, item) = compacted(scripted.host)
    assert item["type"] == "compaction"
    assert_refused(scripted.host, [{**item, "type": "reasoning", "summary": []}, said("x")])


def assert_refused(host: ServedHost, given: list[Any]) -> None:
    refused = host.http.post(RESPONSES, json={"input": given})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_encrypted_content")


def test_there_has_to_be_something_to_compact(scripted: Talk) -> None:
    refused = scripted.post(COMPACT, {"model": "scripted", "input": []})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
