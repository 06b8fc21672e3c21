"""Chat requests in a session: what the model remembers, what is stored, and how a request says which session it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.serving import ServedHost
from tests.support.session_talk import CHAT, ask, ask_streaming, post, refusal, stored, texts

Ask = Callable[..., str]


@pytest.mark.parametrize("ask_in", [ask, ask_streaming])
def test_a_real_model_remembers_what_was_said_before(nano_host: ServedHost, ask_in: Ask) -> None:
    session_id = f"anna-{ask_in.__name__}"
    ask_in(nano_host, "My name is Anna.", session_id, temperature=0, max_tokens=40)
    answer = ask_in(nano_host, "What is my name?", session_id, temperature=0, max_tokens=40)
    assert "Anna" in answer
    assert [message["role"] for message in stored(nano_host, session_id)] == ["user", "assistant"] * 2
    assert texts(nano_host, session_id)[2:] == ["What is my name?", answer]
    other = ask_in(nano_host, "What is my name?", f"{session_id}-other", temperature=0, max_tokens=40)
    assert "Anna" not in other


def test_the_first_answer_of_a_session_is_that_of_a_request_without_one(nano_host: ServedHost) -> None:
    alone = post(nano_host, "Why is the sky blue?", temperature=0, max_tokens=20).json()
    answer = post(nano_host, "Why is the sky blue?", temperature=0, max_tokens=20, session_id="sky").json()
    assert answer["choices"] == alone["choices"]
    assert answer.keys() == alone.keys()


def test_the_openai_client_names_the_session_in_its_extra_body(nano_host: ServedHost) -> None:
    client = nano_host.client()
    extra = {"session_id": "from-openai"}

    def say(text: str) -> Any:
        return client.chat.completions.create(
            model="modelhost-nano", messages=[{"role": "user", "content": text}], temperature=0, extra_body=extra
        )

    say("My name is Berta.")
    with client.chat.completions.create(
        model="modelhost-nano",
        messages=[{"role": "user", "content": "What is my name?"}],
        temperature=0,
        stream=True,
        extra_body=extra,
    ) as stream:
        answer = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    assert "Berta" in answer


def test_a_client_that_sends_everything_every_time_adds_its_last_message_only(scripted_host: ServedHost) -> None:
    messages: list[Any] = [{"role": "system", "content": "Be brief."}]
    for said in ("/echo one", "/echo two", "/echo three"):
        messages.append({"role": "user", "content": said})
        messages.append({"role": "assistant", "content": ask(scripted_host, messages, "everything")})
    assert texts(scripted_host, "everything") == [message["content"] for message in messages]


def test_a_system_message_takes_the_place_of_the_one_before(scripted_host: ServedHost) -> None:
    for text in ("first", "second"):
        said = [{"role": "system", "content": text}, {"role": "user", "content": "/echo yes"}]
        ask(scripted_host, said, "systems")
    ask_streaming(scripted_host, "/echo yes", "systems")
    assert texts(scripted_host, "systems") == ["second", *["/echo yes", "yes"] * 3]


@pytest.mark.parametrize("name", ["X-Session-Id", "X-Conversation-Id", "x-session-id"])
def test_a_header_names_the_session_too(scripted_host: ServedHost, name: str) -> None:
    session_id = f"by-{name}"
    answer = post(scripted_host, "/echo yes", {name: session_id})
    assert answer.headers["x-session-id"] == session_id
    assert post(scripted_host, "/echo yes", {name: session_id}, session_id=session_id).status_code == 200
    with scripted_host.http.stream(
        "POST",
        CHAT,
        json={"messages": [{"role": "user", "content": "/echo yes"}], "stream": True},
        headers={name: session_id},
    ) as stream:
        stream.read()
        assert stream.headers["x-session-id"] == session_id
    assert texts(scripted_host, session_id)[-6:] == ["/echo yes", "yes"] * 3


def test_names_that_differ_are_refused(scripted_host: ServedHost) -> None:
    answer = post(scripted_host, "Hi", {"X-Session-Id": "one"}, session_id="other")
    assert refusal(answer) == (400, "invalid_request")
    assert "X-Session-Id" in answer.json()["error"]["message"]
    answer = post(scripted_host, "Hi", {"X-Session-Id": "one", "X-Conversation-Id": "other"})
    assert refusal(answer) == (400, "invalid_request")
    for wrong in ("", "x" * 257, 5):
        answer = post(scripted_host, "Hi", session_id=wrong)
        assert (refusal(answer), answer.json()["error"]["param"]) == ((400, "invalid_request"), "session_id")


def test_a_header_means_nothing_to_what_is_no_chat(scripted_host: ServedHost) -> None:
    answer = scripted_host.http.post("/v1/completions", json={"prompt": "Hi"}, headers={"X-Session-Id": "no-chat"})
    assert answer.status_code == 200
    assert stored(scripted_host, "no-chat") == []
    answer = scripted_host.http.post("/v1/completions", json={"prompt": "Hi", "session_id": "no-chat"})
    assert refusal(answer) == (400, "unsupported_parameter")


def test_an_id_may_hold_what_addresses_do_not(scripted_host: ServedHost) -> None:
    session_id = "a/b c?d#é%2F"
    ask(scripted_host, "/echo yes", session_id)
    listed = scripted_host.http.get("/v1/sessions", params={"limit": 1}).json()["sessions"]
    assert listed[0]["session_id"] == session_id
    path = "/v1/sessions/a%2Fb%20c%3Fd%23%C3%A9%252F"
    assert scripted_host.http.get(path).json()["session_id"] == session_id
    assert scripted_host.http.delete(path).json()["messages"] == 2
    assert refusal(scripted_host.http.get(path)) == (404, "session_not_found")


def test_of_several_choices_the_first_is_stored(scripted_host: ServedHost) -> None:
    answer = post(scripted_host, "/echo yes", session_id="choices", n=3).json()
    assert len(answer["choices"]) == 3
    ask_streaming(scripted_host, "/echo no", "choices", n=2)
    assert texts(scripted_host, "choices") == ["/echo yes", "yes", "/echo no", "no"]


@pytest.mark.promise("vllm-mcp.sessions.messages")
def test_messages_that_are_over_the_limit_go_and_the_system_message_stays(
    start_host: Callable[..., ServedHost],
) -> None:
    host = start_host(engine="scripted", max_session_messages=5, max_sessions=2)
    ask(host, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "/echo 0"}], "long")
    for number in range(1, 5):
        ask(host, f"/echo {number}", "long")
    assert texts(host, "long") == ["Be brief.", "/echo 3", "3", "/echo 4", "4"]
    ask(host, "/echo yes", "second")
    ask(host, "/echo yes", "third")
    listed = host.http.get("/v1/sessions").json()
    assert ([session["session_id"] for session in listed["sessions"]], listed["total"]) == (["third", "second"], 2)


def test_the_field_and_the_headers_are_described(scripted_host: ServedHost) -> None:
    document = scripted_host.http.get("/openapi.json").json()
    assert "session_id" in document["components"]["schemas"]["ChatRequest"]["properties"]
    described = document["paths"][CHAT]["post"]["parameters"]
    assert [(each["name"], each["in"]) for each in described] == [
        ("X-Session-Id", "header"),
        ("X-Conversation-Id", "header"),
    ]
