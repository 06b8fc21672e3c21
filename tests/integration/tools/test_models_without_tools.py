"""A host with tools, and a model that cannot have any: known when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.support.serving import ServedHost
from tests.support.tool_hosts import config, scripted_host

Start = Callable[..., ServedHost]
CHAT = "/v1/chat/completions"
NOTES = "x-modelhost-notes"
OPTIONS: dict[str, Any] = {"engine_options": {"calls_tools": False}}


def ask(host: ServedHost, **fields: Any) -> httpx2.Response:
    body = {"messages": [{"role": "user", "content": "/call stub_echo {}"}], **fields}
    return host.http.post(CHAT, json=body)


def test_every_answer_says_that_the_hosts_tools_are_left_out(start_host: Start, tmp_path: Path) -> None:
    host = scripted_host(start_host, tmp_path, **OPTIONS)
    for is_loaded in (False, True):
        if not is_loaded:
            assert host.http.post("/v1/models/unload", json={"model_id": "scripted"}).status_code == httpx2.codes.OK
        answer = ask(host)
        assert (answer.status_code, answer.headers[NOTES]) == (200, "tools-left-out"), answer.text
        assert "modelhost.tool_calls" not in answer.json()
    assert ask(host, mcp={"max_turns": 2}).headers[NOTES] == "tools-left-out"
    for wanted in ({"tools": []}, {"tool_choice": "none"}):
        assert NOTES not in ask(host, **wanted).headers


def test_tools_that_a_request_names_are_refused(start_host: Start, tmp_path: Path) -> None:
    host = scripted_host(start_host, tmp_path, **OPTIONS)
    own = [{"type": "function", "function": {"name": "weather"}}]
    for named in ({"tools": own}, {"mcp": {"servers": ["stub"]}}, {"tool_choice": "required"}):
        for _ in range(2):
            assert ask(host, **named).json()["error"]["code"] == "unsupported_operation"


def test_such_a_model_does_not_wait_for_servers_that_start(start_host: Start, tmp_path: Path) -> None:
    slow = {"command": "sleep", "args": ["60"], "connect_timeout_seconds": 5}
    host = start_host(engine="scripted", mcp_config=config(tmp_path, slow=slow), **OPTIONS)
    assert ask(host, tools=[]).status_code == httpx2.codes.OK
    answer = ask(host)
    assert answer.status_code == httpx2.codes.OK
    assert "modelhost.tools" not in answer.json()  # after a wait, the server would be missing


def test_counts_leave_the_hosts_tools_out_too(start_host: Start, tmp_path: Path) -> None:
    host = scripted_host(start_host, tmp_path, **OPTIONS)
    assert ask(host).status_code == httpx2.codes.OK
    counted = host.http.post("/v1/messages/count_tokens", json={"messages": [{"role": "user", "content": "two words"}]})
    assert counted.json()["input_tokens"] == 2


def test_ollamas_clients_see_that_the_model_calls_none(start_host: Start, tmp_path: Path) -> None:
    host = scripted_host(start_host, tmp_path, **OPTIONS)
    assert ask(host).status_code == httpx2.codes.OK
    assert "tools" not in host.http.post("/api/show", json={"model": "scripted"}).json()["capabilities"]
