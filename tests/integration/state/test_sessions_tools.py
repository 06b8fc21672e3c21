"""Sessions in which tools are called: the calls and their results are part of the conversation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.mcp_peers import python_peer
from tests.support.serving import ServedHost
from tests.support.session_talk import ask, ask_streaming, post, stored, texts
from tests.support.tool_hosts import config, scripted_host, wait_for_tools

Start = Callable[..., ServedHost]
Ask = Callable[..., str]
ECHO = '/call stub_echo {"text": "four"}'
OWN = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}


def shape(messages: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Who said what, or called what."""
    return [
        (message["role"], [call["function"]["name"] for call in message.get("tool_calls", ())] or message["content"])
        for message in messages
    ]


@pytest.mark.parametrize("ask_in", [ask, ask_streaming])
def test_calls_of_the_host_are_stored_with_their_results(start_host: Start, tmp_path: Path, ask_in: Ask) -> None:
    host = scripted_host(start_host, tmp_path)
    answer = ask_in(host, ECHO, "tools")
    assert shape(stored(host, "tools")) == [
        ("user", ECHO),
        ("assistant", ["stub_echo"]),
        ("tool", "four"),
        ("assistant", answer),
    ]
    _, asked, result, _ = stored(host, "tools")
    assert result["tool_call_id"] == asked["tool_calls"][0]["id"]
    # A client that sends everything has seen the answer, and none of the calls.
    everything = [
        {"role": "user", "content": ECHO},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "/echo and now?"},
    ]
    assert ask_in(host, everything, "tools") == "and now?"
    assert shape(stored(host, "tools"))[4:] == [("user", "/echo and now?"), ("assistant", "and now?")]


def test_an_answer_that_the_host_ends_leaves_no_call_without_its_result(start_host: Start, tmp_path: Path) -> None:
    host = scripted_host(start_host, tmp_path)
    said = '/turns 9 /call stub_echo {"text": "{turn}"}'
    ask(host, said, "ended", mcp={"max_turns": 3})
    assert shape(stored(host, "ended")) == [
        ("user", said),
        ("assistant", ["stub_echo"]),
        ("tool", "1"),
        ("assistant", ["stub_echo"]),
        ("tool", "2"),
        ("assistant", ""),
    ]
    assert ask(host, "/echo yes", "ended") == "yes"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_calls_for_the_client_wait_for_its_results(scripted_host: ServedHost, is_streamed: bool) -> None:
    session_id = f"own-tools-{is_streamed}"
    answer = post(scripted_host, "/call mine {}", tools=[OWN], session_id=session_id, stream=is_streamed)
    assert answer.status_code == 200
    question, call = stored(scripted_host, session_id)
    assert (question["content"], call["tool_calls"][0]["function"]) == (
        "/call mine {}",
        {"name": "mine", "arguments": "{}"},
    )
    result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "done"}
    post(scripted_host, [result], tools=[OWN], session_id=session_id, stream=is_streamed)
    assert [message["role"] for message in stored(scripted_host, session_id)] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_a_real_model_goes_on_after_a_call_of_a_real_server(start_host: Start, tmp_path: Path) -> None:
    time = {"command": python_peer("mcp-server-time"), "args": ["--local-timezone", "UTC"]}
    host = wait_for_tools(start_host(mcp_config=config(tmp_path, time=time)))
    answer = ask(host, "What time is it in Berlin?", "clock", temperature=0, mcp={"servers": ["time"]})
    assert "Berlin" in answer
    (_, question), (_, calls), (role, result), (_, last) = shape(stored(host, "clock"))
    assert (question, calls, role, last) == ("What time is it in Berlin?", ["time_get_current_time"], "tool", answer)
    assert "Europe/Berlin" in result
    assert ask(host, "Thank you!", "clock", temperature=0, max_tokens=20)
    assert len(texts(host, "clock")) == 6
