"""Requests that come while MCP servers are still starting. The servers and the host are real processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client

from tests.support.eventually import eventually
from tests.support.serving import ServedHost
from tests.support.tool_hosts import chat, chunks, config, servers_of, stub_server, told

ECHO = '/call slow_echo {"text": "over here"}'
NOTES = "x-modelhost-notes"


class Slow:
    """A server that is ready when :meth:`let_go` says so."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "slow.log"
        self.entry = {**stub_server(log=str(self._log), waits_for_starts=2), "connect_timeout_seconds": 120}

    def let_go(self) -> None:
        eventually(self._log.exists)
        with self._log.open("a", encoding="utf-8") as log:
            log.write("start\n")


def silent() -> dict[str, Any]:
    """A server that never answers, and is not started yet: the host takes its own time to start."""
    return {**stub_server(answers_nothing=True), "connect_timeout_seconds": 5, "disabled": True}


def enable(host: ServedHost, server: str) -> None:
    host.http.post(f"/v1/mcp/servers/{server}/enable").raise_for_status()


def started(start: Callable[..., ServedHost], folder: Path, **servers: Any) -> ServedHost:
    settings = servers.pop("settings", {})
    return start(engine="scripted", alias=["scripted"], mcp_config=config(folder, **servers), **settings)


def wait_for(host: ServedHost, **states: str) -> None:
    eventually(lambda: all(servers_of(host)[name]["state"] == state for name, state in states.items()))


def waits_of(host: ServedHost) -> list[dict[str, Any]]:
    return host.log_events("waiting_for_tools")


def post(host: ServedHost, said: str, **fields: Any) -> httpx2.Response:
    body = {"messages": [{"role": "user", "content": said}], **fields}
    return host.http.post("/v1/chat/completions", json=body)


@pytest.mark.promise("candle-vllm.injection.at-start")
def test_request_at_once_gets_the_tools_of_a_server_that_is_starting(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    slow = Slow(tmp_path)
    host = started(start_host, tmp_path, slow=slow.entry)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(post, host, ECHO)
        eventually(lambda: waits_of(host))
        slow.let_go()
        answer = asking.result()
    (call,) = answer.json()["modelhost.tool_calls"]
    assert "over here" in call["text"]
    assert "modelhost.tools" not in answer.json()
    assert NOTES not in answer.headers
    assert waits_of(host)[0]["servers"] == ["slow"]


def test_stream_says_at_once_which_servers_it_waits_for(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    host = started(start_host, tmp_path, slow=slow.entry)
    body = {"messages": [{"role": "user", "content": ECHO}], "stream": True, "session_id": "s"}
    with host.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {"))
        first = json.loads(next(lines))
        slow.let_go()
        rest = [json.loads(line) for line in lines]
    (waiting,) = told([first], "waiting_for_tools")
    assert waiting["servers"] == ["slow"]
    assert 0 < waiting["seconds"] <= 15
    assert (first["model"], first["object"]) == ("scripted", "chat.completion.chunk")
    assert first["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
    assert ["over here" in result["text"] for result in told(rest, "tool_result")] == [True]
    assert told(rest, "waiting_for_tools") == told(rest, "tools") == []
    stored = host.http.get("/v1/sessions/s").json()["messages"]
    assert [message["role"] for message in stored] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.promise("candle-vllm.injection.at-start")
def test_dead_server_delays_one_request_and_answers_say_that_it_is_missing(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    host = started(start_host, tmp_path, deäd=silent(), fine=stub_server())
    wait_for(host, fine="ready")
    enable(host, "deäd")
    answer = post(host, '/call fine_echo {"text": "a"}')
    assert answer.headers[NOTES] == "tools-missing=de%C3%A4d"
    (missing,) = answer.json()["modelhost.tools"]["missing"]
    assert missing["server"] == "deäd"
    assert len(answer.json()["modelhost.tool_calls"]) == 1
    found = chunks(host, '/call fine_echo {"text": "a"}')
    assert told(found, "waiting_for_tools") == []
    assert [each["server"] for (each,) in (tools["missing"] for tools in told(found, "tools"))] == ["deäd"]
    assert found[0]["modelhost.tools"]
    assert len({chunk["id"] for chunk in found}) == 1
    assert len(waits_of(host)) == 1
    alone = post(host, "/echo b", mcp={"servers": ["deäd"]})
    assert alone.json()["modelhost.tools"]["missing"][0]["server"] == "deäd"
    (told_alone,) = told(chunks(host, "/echo b", mcp={"servers": ["deäd"]}), "tools")
    assert told_alone["missing"][0]["server"] == "deäd"
    assert "modelhost.tools" not in chat(host, "/echo b", mcp={"servers": ["fine"]})
    assert len(waits_of(host)) == 1


def test_refusal_of_a_stream_without_a_wait_keeps_its_status_though_a_server_is_missing(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    host = started(start_host, tmp_path, dead={"command": "/no/such/server"})
    wait_for(host, dead="failed")
    refused = post(host, "/error 503", stream=True)
    assert refused.status_code == httpx2.codes.BAD_GATEWAY
    assert refused.headers[NOTES] == "tools-missing=dead"


def test_requests_that_get_no_tools_of_a_starting_server_do_not_wait(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    host = started(start_host, tmp_path, slow=Slow(tmp_path).entry, fine=stub_server())
    own = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
    toolless: list[dict[str, Any]] = [
        {"tools": []},
        {"tools": [own]},
        {"tool_choice": "none"},
        {"mcp": {"servers": []}},
        {"n": 2},
    ]
    for fields in toolless:
        assert NOTES not in post(host, "/echo a", **fields).headers
    assert waits_of(host) == []
    wait_for(host, fine="ready")
    assert "modelhost.tools" not in chat(host, "/echo a", mcp={"servers": ["fine"]})
    assert "modelhost.tools" not in chat(host, "/echo a", mcp={"tools": ["fine.echo"]})
    assert waits_of(host) == []


def test_with_never_nobody_waits_and_the_answer_says_what_was_missing(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    settings = {"wait_for_tools": False}
    host = started(start_host, tmp_path, slow=Slow(tmp_path).entry, settings=settings)
    answer = post(host, ECHO)
    assert answer.json()["modelhost.tools"] == {"missing": [{"server": "slow", "state": "connecting"}]}
    assert answer.headers[NOTES] == "tools-missing=slow"
    assert waits_of(host) == []


async def test_prompts_and_the_tool_of_the_mcp_server_wait_too(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    host = started(start_host, tmp_path, first=silent(), second=silent())
    enable(host, "first")
    enable(host, "second")
    answer = host.http.post("/", json={"prompt": "/echo a"})
    assert answer.json() == {"response": "a"}
    assert answer.headers.get_list(NOTES, split_commas=True) == ["tools-missing=first", "tools-missing=second"]
    assert [wait["servers"] for wait in waits_of(host)] == [["first", "second"]]
    host.http.post("/v1/mcp/servers/first/disable").raise_for_status()
    enable(host, "first")
    async with Client(f"{host.url}/mcp/llm") as client:
        said = {"messages": [{"role": "user", "content": "/echo b"}]}
        result = await client.call_tool("chat_completion", said)
    assert result.structured_content["content"] == "b"
    assert result.structured_content["missing_servers"] == ["first", "second"]
    assert [wait["servers"] for wait in waits_of(host)] == [["first", "second"], ["first"]]
