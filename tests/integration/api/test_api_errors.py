"""Everything that can be refused, over real HTTP: status, type, code, param and who refused."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelhost.chat.parsing.bodies import ChatRequest
from modelhost.engines.llamacpp.engine import LlamaCpp
from tests.integration.api.talk import CHAT, HELLO, Talk, as_messages, check_error, error_of
from tests.support.serving import HostPool, ServedHost

HOST = {"kind": "host"}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"messages": NaN}', "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"user": "\\ud800"}', "invalid_json"),
        (b"[" * 5000, "invalid_json"),
        (b"[]", "invalid_request"),
        (b"null", "invalid_request"),
        (b'"text"', "invalid_request"),
        (b"7", "invalid_request"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/v1/rerank", "/tokenize", "/detokenize"])
def test_a_body_that_is_no_json_object_is_refused_everywhere(scripted: Talk, path: str, raw: bytes, code: str) -> None:
    response = scripted.post(path, raw)
    error = error_of(response)
    assert (response.status_code, error["code"], error["type"]) == (400, code, "invalid_request_error")
    assert error["source"] == HOST


@pytest.mark.parametrize(
    ("path", "field"),
    [(CHAT, "messages"), ("/v1/responses", "input"), ("/v1/messages", "messages"), ("/api/chat", "messages")],
)
def test_more_messages_than_the_context_has_room_for_are_refused_at_every_door(
    scripted: Talk, path: str, field: str
) -> None:
    turns = [{"role": role, "content": "hi"} for _ in range(1100) for role in ("user", "assistant")]
    response = scripted.post(path, {"model": "scripted", "max_tokens": 5, field: [*turns, *as_messages("bye")]})
    assert response.status_code == 400
    assert "context length is 4096 tokens, and the prompt is too long: it has at least 4402" in response.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}, "messages[0].tool_calls[0].function"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"stream_options": {"include_usgae": True}}, "stream_options.include_usgae"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"min_p": "x"}, "min_p"),
        ({"top_k": 0.5}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"n": "2"}, "n"),
        ({"stop": 5}, "stop"),
        ({"stop": [5]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": "x"}, "frequency_penalty"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logprobs": 3}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": "none"}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"modalities": ["image"]}, "modalities[0]"),
        ({"user": 5}, "user"),
        ({"metadata": "x"}, "metadata"),
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs"),
        ({"reasoning_effort": 1}, "reasoning_effort"),
        ({"samplers": "x"}, "samplers"),
        ({"id_slot": "x"}, "id_slot"),
        ({"json_schema": 5}, "json_schema"),
        ({"grammar": 5}, "grammar"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(any_talk: Talk, fields: dict[str, Any], param: str) -> None:
    for stream in (False, True):
        response = any_talk.post(CHAT, {"messages": as_messages(HELLO), "stream": stream, **fields})
        error = error_of(response)
        assert (response.status_code, error["code"]) == (400, "invalid_request")
        assert error["param"].startswith(param)
        assert error["source"] == HOST


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"repetition_penalty": "x"}, "repeat_penalty"),
        ({"typical_p": "x"}, "typical_p"),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"lora": "x"}, "lora"),
        ({"reasoning_format": "x"}, None),
        ({"grammar": "root ::= [a-z"}, None),
        ({"grammar": 'root ::= "a"', "json_schema": {"type": "integer"}}, "grammar"),
    ],
    ids=str,
)
def test_what_the_engine_refuses_is_the_callers_fault_too(nano: Talk, fields: dict[str, Any], param: str) -> None:
    response = nano.post_chat(**fields)
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_request", param)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("topp", "top_p"),
        ("functions", "tools"),
        ("function_call", "tool_choice"),
        ("n_predict", "max_tokens"),
        ("enable_thinking", "chat_template_kwargs"),
    ],
)
def test_an_unknown_field_is_refused_with_what_was_meant(any_talk: Talk, name: str, hint: str) -> None:
    response = any_talk.post_chat(**{name: 1})
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", name)
    assert f'"{hint}"' in error["message"]


@pytest.mark.parametrize("name", ["num_ctx", "keep_alive", "options", "best_of", "suffix"])
def test_a_field_that_cannot_be_honoured_is_refused(any_talk: Talk, name: str) -> None:
    error = error_of(any_talk.post_chat(**{name: 5}))
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": as_messages(HELLO)}),
        (CHAT, {"messages": as_messages(HELLO), "stream": True}),
        ("/v1/completions", {"prompt": HELLO}),
        ("/v1/embeddings", {"input": HELLO}),
        ("/tokenize", {"content": HELLO}),
        ("/detokenize", {"tokens": [1]}),
    ],
)
def test_an_unknown_model_is_not_found_anywhere(any_talk: Talk, path: str, body: dict[str, Any]) -> None:
    response = any_talk.post(path, {**body, "model": "gpt-oss/120b"})
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert any_talk.model in error["message"]
    assert error["source"] == HOST


@pytest.mark.promise("candle-vllm.endpoints.chat")
def test_the_openai_client_raises_what_its_users_expect(any_talk: Talk) -> None:
    client = any_talk.host.client()
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=as_messages(HELLO))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=any_talk.model, messages=as_messages(HELLO), temperature=-5)
    assert (bad.value.code, bad.value.param, bad.value.type) == (
        "invalid_request",
        "temperature",
        "invalid_request_error",
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "field"), [(CHAT, "messages"), ("/v1/completions", "prompt"), ("/v1/embeddings", "input")]
)
def test_a_prompt_that_is_too_long_is_refused_with_both_counts(nano: Talk, path: str, field: str, stream: bool) -> None:
    text = "word " * 5000
    body = {field: as_messages(text) if field == "messages" else text}
    response = nano.post(path, {**body, "stream": stream} if field != "input" else body)
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", field)
    assert error["details"]["prompt_tokens"] > error["details"]["context_length"] > 0
    assert str(error["details"]["prompt_tokens"]) in error["message"]
    assert str(error["details"]["context_length"]) in error["message"]


@pytest.mark.parametrize("n", [1, 2])
def test_several_choices_of_a_prompt_that_is_too_long_are_refused_alike(nano: Talk, n: int) -> None:
    response = nano.post_chat("word " * 5000, stream=True, n=n)
    assert (response.status_code, error_of(response)["code"]) == (400, "context_length_exceeded")


def test_a_body_over_ten_megabytes_is_refused(scripted: Talk) -> None:
    response = scripted.post_chat("x" * 11_000_000)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (413, "request_too_large")
    assert error["details"]["limit_bytes"] == 10_000_000


def test_a_body_just_under_ten_megabytes_is_taken(scripted: Talk) -> None:
    assert scripted.post_chat("x" * 9_900_000).status_code == 200


def test_a_chunked_body_is_refused_when_it_has_grown_too_large(scripted: Talk) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(12):
            yield b" " * 1_000_000

    response = scripted.host.http.post(CHAT, content=pieces())
    assert (response.status_code, error_of(response)["code"]) == (413, "request_too_large")


def test_a_body_declared_too_large_is_refused_before_it_is_sent(scripted: Talk) -> None:
    address = urlsplit(scripted.host.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99000000\r\n\r\n".encode())
        assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]


def test_unknown_paths_and_methods_are_answered_with_error_objects(any_host: ServedHost) -> None:
    missing = any_host.http.get("/v1/nothing")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")
    for path in (CHAT, "/tokenize"):
        wrong = any_host.http.get(path)
        assert (wrong.status_code, error_of(wrong)["code"]) == (405, "method_not_allowed")
        assert wrong.headers["allow"] == "POST"
    wrong = any_host.http.post("/health")
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "method_not_allowed")
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_every_answer_carries_an_id_and_keeps_the_callers(any_host: ServedHost) -> None:
    first, second = (any_host.http.get("/health").headers["x-request-id"] for _ in range(2))
    assert first != second
    assert any_host.http.get("/nothing", headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"


@pytest.fixture(scope="module")
def locked_host(hosts: HostPool) -> ServedHost:
    """A host with two keys."""
    return hosts.host(engine="scripted", api_keys=["first-key", "second-key"])


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic first-key"}])
def test_without_a_right_key_nothing_but_the_probes_answers(locked_host: ServedHost, headers: dict[str, str]) -> None:
    with httpx2.Client(base_url=locked_host.url, headers=headers) as client:
        for path in ("/v1/models", "/metrics", "/v1/nothing"):
            refused = client.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            error = error_of(refused)
            assert (error["code"], error["type"]) == ("invalid_api_key", "authentication_error")
        assert client.post(CHAT, json={"messages": as_messages(HELLO)}).status_code == 401
        for path in ("/health", "/ready", "/version", "/api/version", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_who_speaks_anthropics_api_is_refused_in_its_format(locked_host: ServedHost) -> None:
    refused = httpx2.get(f"{locked_host.url}/v1/models", headers={"anthropic-version": "2023-06-01"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    assert refused.json()["type"] == "error"


def test_requests_without_a_key_are_counted(locked_host: ServedHost) -> None:
    before = locked_host.metric("modelhost_errors_total", code="invalid_api_key")
    httpx2.get(f"{locked_host.url}/v1/models")
    assert locked_host.metric("modelhost_errors_total", code="invalid_api_key") == before + 1


@pytest.mark.parametrize("key", ["first-key", "second-key"])
def test_each_key_opens(locked_host: ServedHost, key: str) -> None:
    assert locked_host.client(api_key=key).models.list().data
    with httpx2.Client(base_url=locked_host.url, headers={"X-Api-Key": key}) as client:
        assert client.get("/v1/models").status_code == 200
    with pytest.raises(openai.AuthenticationError):
        locked_host.client(api_key=key + "x").models.list()


@pytest.mark.parametrize("status", [400, 500, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_engine_names_its_worker(scripted: Talk, status: int, stream: bool) -> None:
    response = scripted.post_chat(f"/error {status}", stream=stream)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (502, "engine_error")
    assert error["source"]["kind"] == "worker"
    assert error["source"]["model"] == "scripted/model"


def test_a_broken_event_of_one_of_several_choices_is_an_error_of_the_engine(scripted: Talk) -> None:
    response = scripted.post_chat("/malformed 3", n=2)
    assert (response.status_code, error_of(response)["code"]) == (502, "engine_error")


def test_a_crash_amid_several_choices_ends_in_one_error_event(start_host: Callable[..., ServedHost]) -> None:
    talk = Talk(start_host(engine="scripted", alias=["scripted"]))
    got = []
    with (
        pytest.raises(openai.APIError) as crashed,
        talk.host.client().chat.completions.create(
            model="scripted", messages=as_messages("/slow 50 /crash 3"), stream=True, n=2
        ) as stream,
    ):
        got.extend(stream)
    assert got
    assert crashed.value.code == "worker_crashed"
    assert isinstance(crashed.value.body, dict)
    check_error(crashed.value.body)
    assert crashed.value.body["source"]["kind"] == "worker"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(sorted({*ChatRequest.model_fields, *LlamaCpp().fields("chat")}))
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": ROLES | JSON}, optional={"content": st.text(max_size=9) | JSON, "tool_calls": JSON}),
    max_size=3,
)
BODIES = st.fixed_dictionaries(
    {"messages": MESSAGES | JSON}, optional={"n": st.integers(1, 3), "stream": st.booleans()}
).flatmap(lambda base: st.dictionaries(NAMES, JSON, max_size=4).map(lambda more: {**more, **base}))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES | JSON)
def test_no_json_makes_the_host_fail(scripted: Talk, body: Any) -> None:
    response = scripted.post(CHAT, json.dumps(body).encode())
    assert response.status_code in {200, 400, 404}, response.text
    if response.status_code != 200:
        error_of(response)


def test_a_page_of_somebody_else_is_refused_and_the_hosts_own_is_served(scripted_host: ServedHost) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
    foreign = scripted_host.http.post("/v1/chat/completions", json=body, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert foreign.json()["error"]["code"] == "foreign_origin"
    own = scripted_host.http.post("/v1/chat/completions", json=body, headers={"Origin": scripted_host.url})
    assert own.status_code == 200


@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, {"messages": as_messages(HELLO)}), ("/v1/completions", {"prompt": HELLO})], ids=str
)
def test_a_bias_of_a_token_that_the_model_does_not_have_is_refused(nano: Talk, path: str, body: dict[str, Any]) -> None:
    assert nano.post(path, {**body, "max_tokens": 2, "logit_bias": {"3": 1, "1023": 1}}).status_code == 200
    response = nano.post(path, {**body, "max_tokens": 2, "logit_bias": {"3": 1, "1024": 1}})
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_request", "logit_bias")
    assert error["message"] == "logit_bias: 1024 is no token of modelhost-nano, which has 1024."


@pytest.mark.parametrize("stream", [False, True])
def test_a_grammar_that_ends_amid_an_answer_is_an_error_of_the_engine_and_nothing_is_stored(
    nano: Talk, stream: bool
) -> None:
    session = f"cut-by-a-grammar-{stream}"
    fields = {"grammar": 'root ::= "abc def\\x00"', "max_tokens": 30, "session_id": session, "stream": stream}
    response = nano.post_chat("Hello!", **fields)
    if stream:
        *events, last = response.text.strip().split("\n\n")
        assert any('"delta"' in event for event in events)
        error = json.loads(last.removeprefix("data: "))["error"]
        check_error(error)
    else:
        assert response.status_code == 502
        error = error_of(response)
    assert error["code"] == "engine_error"
    assert nano.host.http.get(f"/v1/sessions/{session}").status_code == 404


@pytest.mark.parametrize("selected", [{"servers": ["nobody"]}, {"tools": ["nobody"]}])
def test_a_server_or_a_tool_that_is_not_there_is_refused_by_its_field(
    scripted_host: ServedHost, selected: dict[str, list[str]]
) -> None:
    answer = scripted_host.http.post(CHAT, json={"messages": as_messages(HELLO), "mcp": selected})
    assert (answer.status_code, error_of(answer)["param"]) == (404, "mcp")
