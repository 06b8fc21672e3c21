"""What the engine of remote models passes on, refuses and makes of errors."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.engines.launch import ModelSpec
from modelhost.engines.remote.engine import Remote
from modelhost.errors import (
    ConfigError,
    ContextLengthExceeded,
    EngineError,
    InvalidRequest,
    ModelFailed,
    ModelhostError,
    ModelNotFound,
    QueueFull,
    RequestTooLarge,
    UnsupportedOperation,
    UnsupportedParameter,
    WorkerCrashed,
)
from modelhost.http.errors import STATUS


def _translated(status: int, payload: Any, dialect: str = "openai") -> ModelhostError:
    return Remote({"dialect": dialect}).translate_error(status, payload, model="m", worker="m@there")


@pytest.mark.parametrize("field", ["top_k", "min_p"])
def test_a_field_that_is_not_openais_goes_to_servers_that_are_said_to_know_it(field: str) -> None:
    body = {"messages": [], field: 1}
    with pytest.raises(UnsupportedParameter, match=field):
        Remote().adapt("chat", dict(body))
    for options in ({"fields": [field]}, {"fields": f" {field}, x"}, {"dialect": "vllm"}, {"dialect": "modelhost"}):
        assert Remote(options).adapt("chat", dict(body))[field] == 1


def test_each_dialect_has_its_fields() -> None:
    assert "typical_p" in Remote({"dialect": "llamacpp"}).fields("chat")
    assert "typical_p" not in Remote({"dialect": "vllm"}).fields("chat")
    assert {"typical_p", "min_tokens_to_keep"} <= Remote({"dialect": "modelhost"}).fields("chat")
    assert "repetition_penalty" not in Remote().fields("chat")
    assert "frobnicate" in Remote({"fields": ["frobnicate"]}).fields("completions")


def test_llama_server_gets_its_own_names() -> None:
    body = Remote({"dialect": "llamacpp"}).adapt("completions", {"prompt": "x", "repetition_penalty": 1.1})
    assert body == {"prompt": "x", "repeat_penalty": 1.1}


@pytest.mark.parametrize(
    "options",
    [
        {"dialect": "x"},
        {"fields": 3},
        {"fields": [1]},
        {"health_seconds": 0},
        {"connect_seconds": -1},
        {"api_key": "k"},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Remote(options)
    assert Remote().accept({"engine_options": options}).problems


def test_a_model_elsewhere_cannot_be_given_files() -> None:
    with pytest.raises(ConfigError, match="chat_template: the server"):
        Remote().launch(ModelSpec(name="m", urls=("http://a",), chat_template="{{ x }}"), "")


def test_a_server_continues_the_final_message_as_the_engine_of_its_dialect_does() -> None:
    assert Remote({"dialect": "llamacpp"}).continues_final_message
    assert not any(Remote({"dialect": name}).continues_final_message for name in ("openai", "vllm"))


HOST_ERROR = {"message": "said there", "type": "x", "param": "top_p", "source": {"kind": "host"}}


@pytest.mark.parametrize(
    ("status", "payload", "kind"),
    [
        (400, {"error": {"message": "bad", "param": "top_p"}}, InvalidRequest),
        (422, {"detail": [{"msg": "bad"}]}, InvalidRequest),
        (400, {"error": {"message": "no", "code": "unsupported_parameter", "param": "seed"}}, UnsupportedParameter),
        (401, {"error": {"message": "Incorrect API key: k"}}, EngineError),
        (403, "forbidden", EngineError),
        (402, {"error": {"message": "pay"}}, EngineError),
        (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}, ModelNotFound),
        (404, {"detail": "Not Found"}, UnsupportedOperation),
        (405, None, UnsupportedOperation),
        (413, {}, RequestTooLarge),
        (429, {"error": {"message": "slow down"}}, QueueFull),
        (429, {"error": {"message": "no money", "code": "insufficient_quota"}}, EngineError),
        (500, {"error": "text"}, EngineError),
        (503, {"error": {"message": "loading"}}, ModelFailed),
        (301, {}, EngineError),
        (400, {"error": {**HOST_ERROR, "code": "unsupported_parameter"}}, UnsupportedParameter),
        (503, {"error": {**HOST_ERROR, "code": "queue_full"}}, QueueFull),
        (500, {"error": {**HOST_ERROR, "code": "worker_crashed", "details": {"stderr": []}}}, WorkerCrashed),
        (503, {"error": {**HOST_ERROR, "code": "shutting_down"}}, ModelFailed),
    ],
)
def test_an_error_there_is_the_same_one_here(status: int, payload: Any, kind: type[ModelhostError]) -> None:
    error = _translated(status, payload)
    assert type(error) is kind
    assert kind in STATUS


@pytest.mark.parametrize(
    ("dialect", "message", "numbers"),
    [
        (
            "openai",
            "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.",
            (5000, 4097),
        ),
        (
            "vllm",
            "This model's maximum context length is 512 tokens. However, you requested 700 tokens in the messages",
            None,
        ),
    ],
)
def test_a_prompt_that_is_too_long_there_is_too_long(dialect: str, message: str, numbers: Any) -> None:
    error = _translated(400, {"error": {"message": message, "code": 400}}, dialect)
    if numbers is None:
        assert STATUS[type(error)] == 400
        return
    assert isinstance(error, ContextLengthExceeded)
    assert (error.details["prompt_tokens"], error.details["context_length"]) == numbers


def test_details_of_another_host_are_kept() -> None:
    details = {"prompt_tokens": 9, "context_length": 8, "message": "x", "model": "y"}
    error = _translated(400, {"error": {**HOST_ERROR, "code": "context_length_exceeded", "details": details}})
    assert (dict(error.details), error.param) == ({"prompt_tokens": 9, "context_length": 8}, "top_p")


def test_a_refused_key_is_the_hosts_affair() -> None:
    error = _translated(401, {"error": {**HOST_ERROR, "code": "invalid_api_key", "message": "sk-secret"}})
    assert "the key of this host" in error.message
    assert "sk-secret" not in error.message
    assert STATUS[type(error)] == 502
