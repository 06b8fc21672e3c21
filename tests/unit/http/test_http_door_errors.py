"""What is refused or fails before an endpoint has a say is answered in the words of the path."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from modelhost import errors
from modelhost.config.settings import Settings
from modelhost.http.door_errors import error_answer_at, rpc_error_answer
from modelhost.http.errors import error_answer


def answered(settings: Settings, path: str, error: errors.ModelhostError) -> tuple[int, dict[bytes, bytes], Any]:
    status, headers, body = error_answer_at(settings)(path, error)
    return status, dict(headers), orjson.loads(body)


@pytest.mark.parametrize(
    ("settings", "path", "is_prompt"),
    [
        (Settings(), "/", True),
        (Settings(), "/v1/models", False),
        (Settings(prompt_path=("/ask",)), "/ask", True),
        (Settings(), "", False),
        (Settings(strict_prompts=True), "", True),
        (Settings(strict_prompts=True), "/v1/models", False),
        (Settings(only_prompt=True), "/v1/models", True),
        (Settings(only_prompt=True), "/mcp", True),
    ],
)
def test_prompts_have_words_of_their_own(settings: Settings, path: str, *, is_prompt: bool) -> None:
    _, _, body = answered(settings, path, errors.Unauthorized("no key"))
    assert ("Error" in body) is is_prompt


def test_what_arrives_too_slowly_is_a_bad_request_where_prompts_are_strict() -> None:
    late = errors.RequestTimedOut("It did not arrive.")
    assert answered(Settings(), "/", late)[0] == 408
    assert answered(Settings(strict_prompts=True), "/", late)[0] == 400
    assert answered(Settings(strict_prompts=True), "/v1/models", late)[0] == 408


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/llm", "/mcp/models", "/mcp/state"])
def test_fault_at_a_path_of_mcp_is_an_error_of_json_rpc(path: str) -> None:
    status, headers, body = answered(Settings(), path, errors.HostFault())
    assert (status, headers[b"content-type"]) == (500, b"application/json")
    assert (body["jsonrpc"], body["id"]) == ("2.0", None)
    assert body["error"]["code"] == -32603
    assert body["error"]["message"] == errors.HostFault().message
    assert body["error"]["data"]["code"] == "internal_error"


def test_refusal_at_a_path_of_mcp_keeps_its_status_its_headers_and_its_own_code() -> None:
    error = errors.Unauthorized("This host needs an API key.")
    status, headers, body = rpc_error_answer(error)
    ordinary = error_answer(error)
    assert (status, dict(headers)[b"www-authenticate"]) == (401, b"Bearer")
    assert {name for name, _ in headers} == {name for name, _ in ordinary[1]}
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    told = orjson.loads(body)["error"]
    assert (told["code"], told["message"], told["data"]["code"]) == (-32600, error.message, "invalid_api_key")


def test_fault_elsewhere_is_an_error_of_the_openai_api() -> None:
    status, _, body = answered(Settings(), "/v1/models", errors.HostFault())
    assert (status, body["error"]["code"], "jsonrpc" in body) == (500, "internal_error", False)


@pytest.mark.parametrize("path", ["/api/chat", "/api/tags", "/api/blobs/sha256:0", "/api/nothing"])
def test_error_at_a_path_of_ollamas_api_is_a_text(path: str) -> None:
    error = errors.Unauthorized("This host needs an API key.")
    status, headers, body = answered(Settings(), path, error)
    assert (status, body["error"], body["code"]) == (401, error.message, "invalid_api_key")
    assert headers[b"www-authenticate"] == b"Bearer"
