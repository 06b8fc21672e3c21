"""The setting ``require_model``: OpenAI's APIs refuse requests that name no model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.serving import ServedHost

CHAT = {"messages": [{"role": "user", "content": "Hello!"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "Hello"},
    "/v1/embeddings": {"input": "Hello"},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/tokenize": {"content": "Hello"},
    "/v1/audio/speech": {"input": "Hello", "voice": "anna"},
    "/v1/images/generations": {"prompt": "a cat"},
    "/v1/images/edits": {"prompt": "a cat", "image": "iVBORw0KGgo="},
    "/v1/responses": {"input": "Hello"},
    "/v1/responses/input_tokens": {"input": "Hello"},
    "/v1/responses/compact": {"input": "Hello"},
}


@pytest.fixture(scope="module")
def host() -> Iterator[ServedHost]:
    """A host that requires a model."""
    with ServedHost(engine="scripted", alias=["scripted"], require_model=True) as started:
        yield started


def refusal(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("given", [{}, {"model": None}], ids=["absent", "null"])
def test_a_request_without_a_model_is_refused(host: ServedHost, path: str, given: dict[str, Any]) -> None:
    assert refusal(host.http.post(path, json={**BODIES[path], **given})) == (400, "model_required", "model")


def test_a_transcription_without_a_model_is_refused(host: ServedHost) -> None:
    answer = host.http.post("/v1/audio/transcriptions", files={"file": ("a.wav", b"RIFF")})
    assert refusal(answer) == (400, "model_required", "model")


def test_an_edit_in_a_form_without_a_model_is_refused(host: ServedHost) -> None:
    answer = host.http.post("/v1/images/edits", data={"prompt": "a cat"}, files={"image": ("a.png", b"\x89PNG")})
    assert refusal(answer) == (400, "model_required", "model")


def test_a_request_that_names_a_model_is_answered(host: ServedHost) -> None:
    assert host.http.post("/v1/chat/completions", json={**CHAT, "model": "scripted"}).status_code == 200
    assert host.http.post("/v1/responses", json={"model": "scripted", "input": "Hello"}).status_code == 200


def test_a_socket_refuses_it_and_stays_open(host: ServedHost) -> None:
    with connect(f"{host.url.replace('http', 'ws', 1).rstrip('/')}/v1/responses") as client:
        client.send(json.dumps({"type": "response.create", "input": "Hello"}))
        found = json.loads(client.recv(timeout=30))
        assert (found["type"], found["status"], found["error"]["code"]) == ("error", 400, "model_required")
        client.send(json.dumps({"type": "response.create", "model": "scripted", "input": "Hello"}))
        assert json.loads(client.recv(timeout=30))["type"] == "response.created"


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/chat", {**CHAT, "stream": False}), ("/v1/messages", {**CHAT, "max_tokens": 5})],
    ids=["ollama", "anthropic"],
)
def test_other_apis_are_as_they_were(host: ServedHost, path: str, body: dict[str, Any]) -> None:
    free = host.http.post(path, json=body)
    assert "model_required" not in free.text


def test_without_the_setting_the_active_model_answers(scripted_host: ServedHost) -> None:
    assert scripted_host.http.post("/v1/responses", json={"input": "Hello"}).status_code == 200
