"""MCP servers that requests of Anthropic's API name by URL: their tools are called, as blocks of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.mcp_peers import free_port, sdk_http
from tests.support.serving import ServedHost
from tests.support.tool_hosts import config, stub_server, wait_for_tools

Json = dict[str, Any]
HEADERS = {"anthropic-version": "2023-06-01", "anthropic-beta": "mcp-client-2025-11-20"}
CALL = '/call theirs_echo {"text": "from afar"}'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server that is none of the host's."""
    with sdk_http("streamable-http", free_port()) as started:
        yield started


@pytest.fixture(scope="module")
def host(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with a server of its own, which connects to the one at ``url`` although it is on this machine."""
    path = config(tmp_path_factory.mktemp("own"), stub=stub_server())
    permitted = {"remote_mcp_servers": True, "fetch_hosts": [httpx2.URL(url).netloc.decode()]}
    with ServedHost(engine="scripted", alias=["scripted"], mcp_config=path, **permitted) as started:
        yield wait_for_tools(started)


def theirs(url: str, **fields: Any) -> Json:
    return {"type": "url", "name": "theirs", "url": url, **fields}


def body(text: Any, *servers: Json, **fields: Any) -> Json:
    messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
    return {"messages": messages, "max_tokens": 100, "mcp_servers": [*servers], **fields}


def post(host: ServedHost, given: Json) -> httpx2.Response:
    return host.http.post("/v1/messages", json=given, headers=HEADERS)


def content(host: ServedHost, given: Json) -> list[Json]:
    answer = post(host, given)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["content"]
    return found


def calls(found: list[Json]) -> list[tuple[str, str, str]]:
    """The calls of an answer: server, name, result."""
    results = {block["tool_use_id"]: block for block in found if block["type"] == "mcp_tool_result"}
    return [
        (block["server_name"], block["name"], results[block["id"]]["content"][0]["text"])
        for block in found
        if block["type"] == "mcp_tool_use"
    ]


def test_the_model_calls_a_tool_of_a_server_that_the_request_names(host: ServedHost, url: str) -> None:
    found = content(host, body(CALL, theirs(url)))
    assert calls(found) == [("theirs", "theirs_echo", "from afar")]
    assert found[-1]["type"] == "text"


def test_a_stream_has_the_same_blocks(host: ServedHost, url: str) -> None:
    given = body(CALL, theirs(url), stream=True)
    with host.http.stream("POST", "/v1/messages", json=given, headers=HEADERS) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    started = [event["content_block"] for event in map(json.loads, lines) if event["type"] == "content_block_start"]
    assert calls(started) == [("theirs", "theirs_echo", "from afar")]
    assert json.loads(lines[-1])["type"] == "message_stop"


def test_its_blocks_can_be_sent_back(host: ServedHost, url: str) -> None:
    said = content(host, body(CALL, theirs(url)))
    messages = [
        {"role": "user", "content": CALL},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "/echo thanks"},
    ]
    assert content(host, body(messages, theirs(url)))[-1]["text"].strip() == "thanks"


def test_tools_of_the_host_are_there_only_if_they_are_named(host: ServedHost, url: str) -> None:
    call = '/call stub_echo {"text": "at home"}'
    assert calls(content(host, body(call, theirs(url), {"name": "stub"}))) == [("stub", "stub_echo", "at home")]
    ((server, _, said),) = calls(content(host, body(call, theirs(url))))
    assert (server, "there is no tool" in said) == ("", True)


def test_a_request_may_leave_tools_out(host: ServedHost, url: str) -> None:
    for fields in (
        {"mcp_servers": [theirs(url, tool_configuration={"allowed_tools": ["add"]})]},
        {"tools": [{"type": "mcp_toolset", "mcp_server_name": "theirs", "configs": {"echo": {"enabled": False}}}]},
    ):
        ((_, _, said),) = calls(content(host, body(CALL, theirs(url)) | fields))
        assert "there is no tool" in said
    assert calls(content(host, body(CALL, theirs(url), tool_choice={"type": "none"}))) == []


def test_a_server_is_connected_for_its_request_alone(host: ServedHost, url: str) -> None:
    content(host, body(CALL, theirs(url)))
    assert [server["name"] for server in host.http.get("/v1/mcp/servers").json()["data"]] == ["stub"]
    assert "theirs" not in host.http.get("/metrics").text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("http://127.0.0.1:9999/mcp", "public addresses"),
        ("http://[::1]/mcp", "public addresses"),
        ("http://2130706433/mcp", "public addresses"),
        ("ftp://example.org/mcp", "http://"),
    ],
)
def test_an_address_that_is_not_permitted_is_refused(host: ServedHost, at: str, words: str, stream: bool) -> None:
    answer = post(host, body("Hi", theirs(at), stream=stream))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "fetch_refused", "mcp_servers[0].url")
    assert words in error["message"]


def test_a_server_that_is_no_mcp_server_is_the_callers_fault(host: ServedHost, url: str) -> None:
    answer = post(host, body("Hi", theirs(str(httpx2.URL(url).copy_with(path="/nothing")))))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "fetch_failed", "mcp_servers[0].url")


def test_without_the_setting_no_server_is_connected(scripted_host: ServedHost, url: str) -> None:
    answer = post(scripted_host, body("Hi", theirs(url)))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "fetch_refused", "mcp_servers[0].url")
    assert "the setting remote_mcp_servers" in error["message"]
