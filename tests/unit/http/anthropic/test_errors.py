"""Errors in the format of Anthropic's API."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from modelhost import errors
from modelhost.errors import ContextLengthExceeded, HostFault, ModelhostError, QueueFull, Unauthorized, Unavailable
from modelhost.http.anthropic.errors import anthropic_error, error_block
from modelhost.http.door_errors import answer_at
from modelhost.http.errors import STATUS
from tests.unit.http.test_http_errors import example, leaves

OVERLOADED = 529
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}


def body_of(error: ModelhostError) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(anthropic_error(error)[2])
    return found


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_type_that_clients_know(kind: type[ModelhostError]) -> None:
    error = example(kind)
    status, headers, body = anthropic_error(error)
    assert status == (OVERLOADED if kind is QueueFull else STATUS[kind])
    known = dict(headers)
    assert known[b"content-type"] == b"application/json"
    assert known[b"content-length"] == str(len(body)).encode()
    assert (b"retry-after" in known) == isinstance(error, Unavailable)
    found = orjson.loads(body)
    assert found["type"] == "error"
    expected = KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    assert found["error"]["type"] == expected
    assert (found["error"]["code"], found["error"]["param"]) == (kind.code, "p")
    assert found["error"]["details"]["why"] == "x"
    assert found["error"]["source"]["kind"] in {"host", "worker"}


def test_an_error_has_one_content_length() -> None:
    names = [name for name, _ in anthropic_error(HostFault())[1]]
    assert len(names) == len(set(names))


def test_a_full_queue_is_what_clients_of_anthropic_retry() -> None:
    error = QueueFull("The queue is full.")
    assert anthropic_error(error)[0] == OVERLOADED
    assert body_of(error)["error"]["type"] == "overloaded_error"


def test_a_prompt_that_is_too_long_has_the_words_that_make_clients_shorten_it() -> None:
    error = ContextLengthExceeded.of("m", tokens=3000, limit=2048)
    message = body_of(error)["error"]["message"]
    assert message.startswith("prompt is too long: 3000 tokens > 2048 maximum")
    assert error.message in message


def test_a_missing_key_says_which_header_is_accepted() -> None:
    assert "x-api-key" in body_of(Unauthorized("There is no key."))["error"]["message"]


def test_an_error_in_the_middle_of_an_answer_is_an_event() -> None:
    error = errors.WorkerCrashed("It crashed.", model="m", worker="m/1")
    name, data = error_block(error).removesuffix(b"\n\n").split(b"\n")
    assert name == b"event: error"
    assert orjson.loads(data.removeprefix(b"data: ")) == body_of(error)


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches", "/v1/messages/x/y"]
)
def test_errors_before_the_door_have_its_format_too(path: str) -> None:
    error = Unauthorized("There is no key.")
    assert orjson.loads(answer_at(path, error)[2]) == body_of(error)
    assert "type" not in orjson.loads(answer_at("/v1/chat/completions", error)[2])


def test_errors_elsewhere_have_its_format_for_its_clients() -> None:
    error = Unauthorized("There is no key.")
    assert orjson.loads(answer_at("/v1/models", error, {b"anthropic-version"})[2]) == body_of(error)
    assert "type" not in orjson.loads(answer_at("/v1/models", error)[2])
    assert "type" not in orjson.loads(answer_at("/api/tags", error, {b"anthropic-version"})[2])
