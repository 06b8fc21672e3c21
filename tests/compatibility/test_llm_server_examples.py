"""The examples of LLM-Server: its configuration, a request and what is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.compatibility.examples import json_of, text_of
from tests.support.llm_server import LlmServer, config, environ, llm_server
from tests.support.npx import npx_path

FILES = "/path/to/chat-mcp/"
KEY = "brave-4711-0815-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlmServer]:
    """A server with the MCP servers of the document, whose secret is in ``.env``; the rest is the tests' own."""
    folder = tmp_path_factory.mktemp("llm-server")
    text = text_of("llm-server/servers.txt")
    assert FILES in text
    servers = json.loads("{" + text.replace(FILES, str(folder / "files")) + "}")
    (folder / ".env").write_text(f"BRAVE_API_KEY={KEY}\n", "utf-8")
    with llm_server(folder, config(folder, **servers), env=environ(PATH=npx_path(folder / "bin"))) as started:
        yield started


@pytest.mark.promise(
    "llm-server.post",
    "llm-server.config.servers",
    "llm-server.config.folder",
    "llm-server.request.prompt",
    "llm-server.response",
    "llm-server.servers.all",
)
def test_the_configuration_runs_and_the_request_is_answered(server: LlmServer) -> None:
    listed = server.http.get("/v1/mcp/servers").json()["data"]
    assert {each["name"]: each["state"] for each in listed} == {"filesystem": "ready", "brave-search": "ready"}
    answer = server.http.post("/", json=json_of("llm-server/request.json"))
    assert (answer.status_code, answer.json().keys()) == (httpx2.codes.OK, json_of("llm-server/response.json").keys())
    assert answer.json()["response"]


@pytest.mark.promise("llm-server.request.invalid")
def test_what_is_no_prompt_is_an_error_of_the_document(server: LlmServer) -> None:
    answer = server.http.post("/", content=text_of("llm-server/request.json").replace("prompt", "question"))
    assert (answer.status_code, answer.json().keys()) == (
        httpx2.codes.BAD_REQUEST,
        json_of("llm-server/error.json").keys(),
    )
