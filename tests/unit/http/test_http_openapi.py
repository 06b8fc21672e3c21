"""What ``/openapi.json`` says is what the host does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
import jsonschema
import pytest
from pydantic import BaseModel

from modelhost.chat.parsing.bodies import MODELS, ChatRequest
from modelhost.chat.parsing.validation import validate
from modelhost.config.value_types import is_session_id
from modelhost.errors import InvalidRequest
from modelhost.exchange.tasks import Task
from modelhost.host import Host
from modelhost.http.anthropic.bodies import MessagesRequest
from modelhost.http.app import build_app
from modelhost.http.validation import checked
from modelhost.operations.sessions import SessionDocument
from modelhost.operations.state import SaveParameters
from tests.unit.operations.fake_host import FakeHost, ready


@asynccontextmanager
async def connected(**settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(build_app(cast("Host", FakeHost(ready("a"), **settings))))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def document(**settings: Any) -> dict[str, Any]:
    async with connected(**settings) as client:
        found: dict[str, Any] = (await client.get("/openapi.json")).json()
        return found


async def test_parameters_of_a_query_are_described_as_they_are_checked() -> None:
    paths = (await document())["paths"]
    schemas = {each["name"]: each["schema"] for each in paths["/v1/audit"]["get"]["parameters"]}
    assert schemas["limit"] == {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 100}
    assert schemas["before"] == {"type": "string", "format": "date-time"}
    (server,) = paths["/v1/mcp/tools"]["get"]["parameters"]
    assert server["schema"] == {"type": "string", "minLength": 1}


async def test_the_routes_of_fastapi_are_described_with_our_refusals() -> None:
    found = await document()
    assert set(found["paths"]["/v1/models"]["get"]["responses"]) == {"200", "400", "401"}
    assert set(found["paths"]["/v1/models/{model_id}"]["get"]["responses"]) == {"200", "401", "404"}
    assert "HTTPValidationError" not in found["components"]["schemas"]


async def test_what_needs_no_key_is_described_so() -> None:
    paths = (await document(api_keys=["sesame"]))["paths"]
    open_paths = {path for path, methods in paths.items() for each in methods.values() if each.get("security") == []}
    signed = "/v1/images/files/{name}"  # its address has a signature
    assert open_paths == {"/health", "/ready", "/version", "/api/version", signed}
    assert all("401" in each["responses"] for path in paths.keys() - open_paths for each in paths[path].values())


async def test_a_body_is_required_where_a_parameter_is() -> None:
    paths = (await document())["paths"]
    required = {"/v1/sessions/export": False, "/v1/sessions/import": True, "/v1/state/clear": False}
    assert {path: paths[path]["post"]["requestBody"]["required"] for path in required} == required


async def test_messages_of_a_session_are_described_as_those_of_a_chat() -> None:
    schemas = (await document())["components"]["schemas"]
    assert schemas["SessionDocument"]["properties"]["messages"]["items"] == {"$ref": "#/components/schemas/Message"}


async def test_schemas_of_anthropics_api_have_names_of_their_own() -> None:
    schemas = (await document())["components"]["schemas"]
    assert [name for name in schemas if "__" in name] == []
    assert schemas["Message"] != schemas["AnthropicMessage"]


@pytest.mark.parametrize(
    ("block", "is_valid"),
    [
        ({"type": "text", "text": "a"}, True),
        ({"type": "redacted_thinking", "data": "a"}, True),
        ({"type": "text"}, False),
        ({"type": "hologram"}, False),
        ({"type": {}}, False),
        ({"type": []}, False),
    ],
    ids=str,
)
def test_a_block_of_a_message_is_described_as_it_is_checked(block: Any, is_valid: bool) -> None:
    body = {"max_tokens": 1, "messages": [{"role": "user", "content": [block]}]}
    described = jsonschema.Draft202012Validator(MessagesRequest.model_json_schema())
    assert described.is_valid(body) is is_valid
    if is_valid:
        checked(MessagesRequest, body)
    else:
        with pytest.raises(InvalidRequest):
            checked(MessagesRequest, body)


@pytest.mark.parametrize("tool", [{"name": "a", "input_schema": {}}, {"type": "web_search_20250305", "name": "a"}])
def test_each_tool_of_a_message_is_of_one_described_kind(tool: Any) -> None:
    described = jsonschema.Draft202012Validator(MessagesRequest.model_json_schema())
    assert described.is_valid({"max_tokens": 1, "messages": MESSAGES, "tools": [tool]})


MESSAGES = [{"role": "user", "content": "hello"}]
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"schema": {}}}


@pytest.mark.parametrize(
    ("task", "body", "is_valid"),
    [
        ("completions", {"prompt": "a", "echo": False, "best_of": 1}, True),
        ("completions", {"prompt": "a", "echo": 0}, False),
        ("completions", {"prompt": "a", "best_of": True}, False),
        ("completions", {"prompt": "a", "seed": 2**64 - 1}, True),
        ("completions", {"prompt": "a", "seed": 2**64}, False),
        ("completions", {"prompt": [0, 1]}, True),
        ("completions", {"prompt": [[-1]]}, False),
        ("embeddings", {"input": [-1]}, False),
        ("rerank", {"query": "a", "documents": ["b"], "top_n": 2**31}, False),
        ("detokenize", {"tokens": [2**31]}, False),
        ("chat", {"messages": MESSAGES, "response_format": JSON_SCHEMA}, True),
        ("chat", {"messages": MESSAGES, "response_format": {"type": "json_schema"}}, False),
        ("chat", {"messages": MESSAGES, "response_format": {"type": "text"}}, True),
        ("chat", {"messages": MESSAGES, "top_logprobs": 1}, False),
        ("chat", {"messages": MESSAGES, "top_logprobs": 1, "logprobs": True}, True),
    ],
    ids=str,
)
def test_a_request_is_refused_where_its_description_refuses_it(task: Task, body: Any, is_valid: bool) -> None:
    described = jsonschema.Draft202012Validator(MODELS[task].model_json_schema())
    assert described.is_valid(body) is is_valid
    if is_valid:
        validate(task, body)
    else:
        with pytest.raises(InvalidRequest):
            validate(task, body)


@pytest.mark.parametrize("model", [ChatRequest, SaveParameters, SessionDocument])
@pytest.mark.parametrize("session_id", ["anna 42", "a\nb", "a\x7f", "", "a" * 257])
def test_what_a_new_session_may_be_called_is_described(model: type[BaseModel], session_id: str) -> None:
    described = jsonschema.Draft202012Validator(model.model_json_schema()["properties"]["session_id"])
    assert described.is_valid(session_id) is is_session_id(session_id)


@pytest.mark.parametrize(
    ("body", "is_valid"),
    [
        ({"content": "a"}, True),
        ({"prompt": "a", "content": None}, True),
        ({"prompt": "a", "content": "b"}, False),
        ({"prompt": None}, False),
        ({}, False),
    ],
    ids=str,
)
def test_one_text_is_turned_into_tokens(body: Any, is_valid: bool) -> None:
    described = jsonschema.Draft202012Validator(MODELS["tokenize"].model_json_schema())
    assert described.is_valid(body) is is_valid


@pytest.mark.parametrize("prompt", ["", " \n", "\x1c", "\x85", "\u3000", "\ufeff"])
async def test_a_prompt_that_says_nothing_is_forbidden(prompt: str) -> None:
    content = (await document())["paths"]["/"]["post"]["requestBody"]["content"]
    described = jsonschema.Draft202012Validator(content["application/json"]["schema"])
    assert not described.is_valid({"prompt": prompt})
    async with connected() as client:
        assert (await client.post("/", json={"prompt": prompt})).status_code == 400
    assert described.is_valid({"prompt": " a"})


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/sessions/anna", "DELETE, GET, HEAD"),
        ("/v1/sessions/export", "DELETE, GET, HEAD, POST"),  # a session may be called so
        ("/v1/models", "GET, HEAD"),
        ("/v1/models/load", "GET, HEAD, POST"),
    ],
)
async def test_all_methods_of_a_path_are_allowed_whichever_route_has_them(path: str, allowed: str) -> None:
    async with connected() as client:
        refused = await client.put(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
