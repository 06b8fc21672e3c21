"""``chat_completion`` of a host that has tools itself: they run on the way, and nobody is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.support.serving import ServedHost
from tests.support.tool_hosts import config, tool_name, wait_for_tools


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


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


def test_speech_of_one_host_is_a_tool_of_another_and_described_to_a_model_that_does_not_hear(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    first = start_host(engine="scripted", alias=["scripted"])
    path = config(tmp_path, own={"type": "http", "url": f"{first.url}/mcp/llm"})
    host = wait_for_tools(start_host(engine="scripted", alias=["scripted"], mcp_config=path))
    name = tool_name(host, "speak")
    body = said(f'/call {name} {{"input": "/echo one two"}}')
    (call,) = host.http.post("/v1/chat/completions", json=body).json()["modelhost.tool_calls"]
    assert call["text"].startswith("[audio/mpeg, 7 bytes]")
