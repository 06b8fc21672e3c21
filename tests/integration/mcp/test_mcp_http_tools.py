"""``chat_completion`` of a host that has tools itself: they run on the way, and nobody is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client

from tests.support.serving import ServedHost
from tests.support.tool_hosts import config, scripted_host, stub_server, tool_name, wait_for_tools


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def test_calls_of_the_hosts_tools_are_told(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    host = scripted_host(start_host, tmp_path)
    name = tool_name(host, "echo")
    async with Client(f"{host.url}/mcp/llm") as client:
        result = await client.call_tool("chat_completion", said(f'/call {name} {{"text": "over here"}}'))
    assert not result.is_error
    (call,) = result.structured_content["tool_calls"]
    assert (call["name"], call["server"], call["is_error"]) == (name, "stub", False)
    assert call["arguments"] == {"text": "over here"}
    assert "over here" in call["text"]
    assert result.structured_content["content"].startswith("This is the scripted engine.")


async def test_call_that_needs_a_yes_is_denied_at_once(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    servers = {"stub": {**stub_server(), "approval": "ask"}}
    host = scripted_host(start_host, tmp_path, servers=servers, question_timeout=100.0)
    name = tool_name(host, "echo")
    async with Client(f"{host.url}/mcp/llm", read_timeout_seconds=20) as client:
        result = await client.call_tool("chat_completion", said(f'/call {name} {{"text": "x"}}'))
    (call,) = result.structured_content["tool_calls"]
    assert call["is_error"] is True
    assert result.structured_content["content"].startswith("This is the scripted engine.")


def test_chat_of_one_host_is_a_tool_of_another(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    first = start_host(engine="scripted", alias=["scripted"], mcp_port=0)
    (listening,) = first.log_events("listening")
    path = config(tmp_path, own={"type": "http", "url": listening["mcp"]})
    host = wait_for_tools(start_host(engine="scripted", alias=["scripted"], mcp_config=path, max_tool_depth=2))
    name = tool_name(host, "chat_completion")
    asked = f'/call {name} {{"messages": [{{"role": "user", "content": "/echo inner"}}]}}'
    body = {"messages": [{"role": "user", "content": asked}]}
    answer = host.http.post("/v1/chat/completions", json=body, timeout=httpx2.Timeout(30)).json()
    (call,) = answer["modelhost.tool_calls"]
    assert "inner" in call["text"]
