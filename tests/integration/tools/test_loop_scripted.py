"""Chat requests in which the host runs tools, with the scripted engine, which calls exactly what it is told."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.mcp_stub import Behaviour
from tests.support.serving import ServedHost
from tests.support.tool_hosts import (
    calls,
    chat,
    chunks,
    scripted_host,
    sdk_server,
    servers_of,
    stub_server,
    told,
    tool_name,
)

Start = Callable[..., ServedHost]
ECHO = '/call stub_echo {"text": "four"}'
WISH = {"messages": [{"role": "user", "content": {"type": "text", "text": "/echo an old pond"}}], "maxTokens": 50}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def host(folder: Path) -> Any:
    """A host with one stub, left as it is."""
    started: list[ServedHost] = []

    def start(**settings: Any) -> ServedHost:
        started.append(ServedHost(**settings))
        return started[0]

    script = [
        calls("side by side", *(("stub_meet", {"count": 3, "unit": unit}) for unit in "abc"), text="done"),
        calls("all wrong", ("stub_fail", {"text": "no city"}), ("stub_nowhere", {}), ("stub_echo", {}), text="sorry"),
        calls("broken", ("stub_echo", '{"text": '), tool_turns=5),
    ]
    tools = stub_server(tools=[*Behaviour.tools, "meet"])
    try:
        yield scripted_host(start, folder, script, servers={"stub": tools})
    finally:
        for each in started:
            each.close()


def test_ordinary_client_sees_one_ordinary_answer(host: ServedHost) -> None:
    answer = host.client().chat.completions.create(model="scripted", messages=[{"role": "user", "content": ECHO}])
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content
    assert choice.message.tool_calls is None
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_ordinary_client_reads_a_stream_with_calls_in_it(host: ServedHost) -> None:
    messages: Any = [{"role": "user", "content": ECHO}]
    text, ends, usages = "", [], []
    with host.client().chat.completions.create(
        model="scripted", messages=messages, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            usages += [chunk.usage] if chunk.usage else []
            for choice in chunk.choices:
                text += choice.delta.content or ""
                ends += [choice.finish_reason] if choice.finish_reason else []
                assert choice.delta.tool_calls is None
    assert text.startswith("This is the scripted engine.")
    assert ends == ["stop"]
    assert len(usages) == 1


def test_the_tokens_so_far_are_those_of_all_turns(host: ServedHost) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    *pieces, last = chunks(host, ECHO, stream_options=options)
    written = [chunk for chunk in pieces if chunk["choices"][0]["delta"].get("content")]
    told = [chunk["usage"]["completion_tokens"] for chunk in written]
    assert told == list(
        range(last["usage"]["completion_tokens"] - len(told) + 1, last["usage"]["completion_tokens"] + 1)
    )
    assert told[0] > 1  # the call was written before


def test_client_that_accumulates_a_stream_gets_the_same_answer(host: ServedHost) -> None:
    with host.client().chat.completions.stream(
        model="scripted", messages=[{"role": "user", "content": ECHO}]
    ) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    assert message.role == "assistant"
    assert message.content
    assert message.content.startswith("This is the scripted engine.")


def test_stream_and_whole_answer_tell_of_the_call(host: ServedHost) -> None:
    found = chunks(host, ECHO)
    (begun,), (result,) = told(found, "tool_call"), told(found, "tool_result")
    assert (begun["name"], begun["arguments"]) == ("stub_echo", {"text": "four"})
    assert (result["id"], result["server"], result["tool"], result["text"]) == (begun["id"], "stub", "echo", "four")
    (call,) = chat(host, ECHO)["modelhost.tool_calls"]
    assert (call["name"], call["arguments"], call["text"]) == ("stub_echo", {"text": "four"}, "four")


def test_calls_of_one_turn_run_side_by_side(host: ServedHost) -> None:
    answer = chat(host, "side by side")
    # None of them ends before all have begun: one after the other they would never be answered.
    assert [(call["tool"], call["is_error"]) for call in answer["modelhost.tool_calls"]] == [("meet", False)] * 3
    assert answer["choices"][0]["message"]["content"] == "done"


def test_what_goes_wrong_with_calls_is_for_the_model_to_read(host: ServedHost) -> None:
    answer = chat(host, "all wrong")
    codes = [call["code"] for call in answer["modelhost.tool_calls"]]
    assert codes == ["tool_failed", "tool_not_found", "invalid_arguments"]
    assert answer["choices"][0]["message"]["content"] == "sorry"


def test_malformed_call_becomes_text(host: ServedHost) -> None:
    answer = chat(host, "broken")
    assert answer["choices"][0]["message"]["content"] == 'stub_echo {"text":'
    assert answer["modelhost.finish_details"]["type"] == "malformed_call"


@pytest.mark.parametrize(
    ("said", "fields", "ending"),
    [
        ('/turns 9 /call stub_echo {"text": "{turn}"}', {"mcp": {"max_turns": 3}}, "turn_limit"),
        ('/turns 9 /call stub_echo {"text": "same"}', {}, "repeated_call"),
        ('/turns 9 /call stub_echo {"text": "{turn}"}', {"max_tokens": 20}, "token_limit"),
    ],
)
def test_guards_end_the_loop(host: ServedHost, said: str, fields: dict[str, Any], ending: str) -> None:
    answer = chat(host, said, **fields)
    assert answer["modelhost.finish_details"]["type"] == ending
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("fields", [{"tools": []}, {"tool_choice": "none"}, {"mcp": {"servers": []}}], ids=str)
def test_tools_of_the_host_can_be_left_out(host: ServedHost, fields: dict[str, Any]) -> None:
    assert "modelhost.tool_calls" not in chat(host, ECHO, **fields)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_failure_of_the_engine_is_an_error_with_a_status(host: ServedHost, is_streamed: bool) -> None:
    body = {"messages": [{"role": "user", "content": "/error 500"}], "stream": is_streamed}
    answer = host.http.post("/v1/chat/completions", json=body)
    assert answer.status_code >= 500
    assert answer.json()["error"]["code"]


@pytest.mark.parametrize(
    ("mcp", "status"), [({"servers": ["nowhere"]}, 404), ({"tools": ["nothing"]}, 404), ({"turns": 1}, 400)]
)
def test_wishes_that_cannot_be_met_are_refused(host: ServedHost, mcp: Any, status: int) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "mcp": mcp}
    assert host.http.post("/v1/chat/completions", json=body).status_code == status


# Servers that die, clients that leave.


@pytest.mark.promise("llm-server.servers.crash")
def test_server_that_is_killed_in_mid_call_is_a_result_and_works_again(start_host: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    host = scripted_host(start_host, tmp_path, servers={"stub": stub_server(log=str(log))})
    pid = servers_of(host)["stub"]["pid"]

    def kill() -> None:
        eventually(lambda: "call sleep" in log.read_text("utf-8"), seconds=30)
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    answer = chat(host, '/call stub_sleep {"seconds": 60}')
    killer.join()
    assert answer["modelhost.tool_calls"][0]["code"] == "tool_connection_lost"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert chat(host, ECHO)["modelhost.tool_calls"][0]["text"] == "four"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_client_that_leaves_cancels_the_running_tool(start_host: Start, tmp_path: Path, is_streamed: bool) -> None:
    log = tmp_path / "log"
    host = scripted_host(start_host, tmp_path, servers={"stub": stub_server(log=str(log))}, slots=1, max_in_flight=1)
    body = {"messages": [{"role": "user", "content": '/call stub_sleep {"seconds": 60}'}], "stream": is_streamed}

    def ask() -> None:
        with host.http.stream("POST", "/v1/chat/completions", json=body, timeout=60 if is_streamed else 5) as answer:
            for _ in answer.iter_bytes():
                if "call sleep" in log.read_text("utf-8"):
                    return

    with nullcontext() if is_streamed else pytest.raises(httpx2.ReadTimeout):
        ask()
    eventually(lambda: "notifications/cancelled" in log.read_text("utf-8"))
    assert servers_of(host)["stub"]["in_flight"] == 0
    assert chat(host, ECHO)["modelhost.tool_calls"][0]["text"] == "four"


# Servers that want something.


def test_model_writes_for_a_server_while_its_tool_runs_with_one_slot(start_host: Start, tmp_path: Path) -> None:
    servers = {
        "stub": {**stub_server(tools=["sampling/createMessage"]), "sampling": "auto"},
        "sdk": {**sdk_server(), "sampling": "auto"},
    }
    host = scripted_host(start_host, tmp_path, servers=servers, slots=1, max_in_flight=1)
    versions = {name: server["protocol_version"] for name, server in servers_of(host).items()}
    assert versions == {"stub": "2025-11-25", "sdk": "2026-07-28"}
    for said, poem in (
        (f"/call {tool_name(host, 'sampling/createMessage')} {json.dumps(WISH)}", "an old pond"),
        ("/call sdk_haiku {}", "This is the scripted engine."),
    ):
        (call,) = chat(host, said)["modelhost.tool_calls"]
        assert (call["code"], poem in call["text"]) == (None, True)


def test_person_is_asked_on_the_stream_and_answers(start_host: Start, tmp_path: Path) -> None:
    servers = {"stub": {**stub_server(), "approval": "ask"}, "sdk": sdk_server()}
    host = scripted_host(start_host, tmp_path, servers=servers, question_timeout=20)
    for said, kind, answer, (code, text) in (
        (ECHO, "approval", {"approve": True}, (None, "four")),
        (ECHO, "approval", {"approve": False}, ("tool_denied", "denied")),
        ("/call sdk_hello", "elicitation", {"action": "accept", "content": {"name": "Anna"}}, (None, "accept: Anna")),
        ("/call sdk_hello", "elicitation", {"action": "decline"}, (None, "decline")),
    ):
        question, result = asked_and_answered(host, said, answer)
        assert (question["kind"], question["call_id"]) == (kind, result["id"])
        assert result["code"] == code
        assert text in result["text"]


def asked_and_answered(host: ServedHost, said: str, answer: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The question on the stream, which gets ``answer``, and the result of the call."""
    question: dict[str, Any] = {}
    body = {"messages": [{"role": "user", "content": said}], "stream": True}
    with host.http.stream("POST", "/v1/chat/completions", json=body) as stream:
        for line in stream.iter_lines():
            chunk = json.loads(line.removeprefix("data: ")) if line.startswith("data: {") else {}
            if "modelhost.question" in chunk:
                question = chunk["modelhost.question"]
                path = f"/v1/mcp/{question['kind']}s/{question['id']}"
                assert host.http.post(path, json=answer).status_code == 200
                assert host.http.post(path, json=answer).status_code == 404
            if "modelhost.tool_result" in chunk:
                return question, chunk["modelhost.tool_result"]
    raise AssertionError("the call has no result")


def test_nobody_to_ask_is_a_no(host: ServedHost) -> None:
    (call,) = chat(host, ECHO, mcp={"approval": "ask"})["modelhost.tool_calls"]
    assert call["code"] == "tool_denied"


# Circles.


def test_tools_that_ask_the_host_again_come_to_an_end_with_one_slot(start_host: Start, tmp_path: Path) -> None:
    servers = {"stub": stub_server(tools=["ask_host"])}
    host = scripted_host(start_host, tmp_path, servers=servers, slots=1, max_in_flight=1, max_tool_depth=3)
    answer = chat(host, f'/call stub_ask_host {{"url": "{host.url}"}}')
    (call,) = answer["modelhost.tool_calls"]
    assert call["text"] == "1 ok; 2 ok; 3 depth_limit; "
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_depth_that_is_no_number_is_refused(host: ServedHost) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    answer = host.http.post("/v1/chat/completions", json=body, headers={"X-Modelhost-Depth": "-1"})
    assert answer.status_code == 400
    assert "X-Modelhost-Depth" in answer.json()["error"]["message"]
