"""The trace of a client at each door, over MCP, a WebSocket and in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.mcp_stdio import stdio_server
from tests.support.serving import ServedHost
from tests.support.tool_hosts import scripted_host, stub_server, tool_name
from tests.support.traces import QUICK, ClientTrace, TraceReceiver

TURN = ("chat scripted", [])
MESSAGES = [{"role": "user", "content": "/echo hello"}]
CHATS: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "scripted", "messages": MESSAGES, "max_tokens": 9},
    "/v1/responses": {"model": "scripted", "input": "/echo hello"},
    "/api/chat": {"model": "scripted", "messages": MESSAGES},
    "/": {"prompt": "/echo hello"},
}
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "/v1/completions": ({"prompt": "/echo hello"}, "text_completion scripted"),
    "/v1/embeddings": ({"input": "hello"}, "embeddings scripted"),
    "/tokenize": ({"content": "hello"}, "tokenize scripted"),
}


@pytest.mark.parametrize("path", CHATS)
def test_each_door_has_a_turn_in_the_clients_trace(path: str, host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    answer = host.http.post(path, json=CHATS[path], headers=trace.fields)
    assert answer.status_code == 200, answer.text
    assert receiver.tree(trace, 2) == [(f"POST {path}", [TURN])]


@pytest.mark.parametrize("path", OTHERS)
def test_other_tasks_have_a_span_of_their_own(path: str, host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    body, span = OTHERS[path]
    answer = host.http.post(path, json={"model": "scripted", **body}, headers=trace.fields)
    assert answer.status_code == 200, answer.text
    assert receiver.tree(trace, 2) == [(f"POST {path}", [(span, [])])]


def test_administration_has_one_span_with_its_route(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    host.http.get("/v1/models/scripted", headers=trace.fields)
    assert receiver.tree(trace, 1) == [("GET /v1/models/{model_id}", [])]


@pytest.mark.parametrize(
    ("line", "operation", "code"),
    [
        ("GET /v1/monitor/metrics?metrics=nothing", "get-metrics", "invalid_request"),
        ("GET /v1/monitor/metrics?model=nowhere", "get-metrics", "model_not_found"),
        ("GET /v1/models/nowhere", None, "model_not_found"),
        ("GET /nothing/here", None, "not_found"),
        ("DELETE /v1/monitor/metrics", None, "method_not_allowed"),
    ],
)
def test_refused_request_for_no_model_says_what_it_was_and_why(
    line: str, operation: str | None, code: str, host: ServedHost, receiver: TraceReceiver
) -> None:
    trace = ClientTrace()
    method, _, path = line.partition(" ")
    answer = host.http.request(method, path, headers=trace.fields)
    assert answer.json()["error"]["code"] == code
    (span,) = receiver.of(trace, 1)
    assert (span.attributes.get("modelhost.operation"), span.attributes["error.type"]) == (operation, code)
    assert not span.is_error


def test_probe_has_a_span_only_in_a_trace_of_its_client(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    assert host.http.get("/health").status_code == 200
    assert host.http.get("/health", headers=trace.fields).status_code == 200
    assert receiver.tree(trace, 1) == [("GET /health", [])]
    assert [span.trace_id for span in receiver.spans if span.name == "GET /health"] == [trace.trace_id]


def test_answer_for_a_tool_that_asks_for_one_is_a_part_of_the_call(
    receiver: TraceReceiver, start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    asks = {**stub_server(tools=["sampling/createMessage"]), "sampling": "auto"}
    given = {"messages": [{"role": "user", "content": {"type": "text", "text": "/echo a pond"}}], "maxTokens": 50}
    host = scripted_host(start_host, tmp_path, servers={"stub": asks}, environment=QUICK, otlp_endpoint=receiver.url)
    trace = ClientTrace()
    name = tool_name(host, "sampling/createMessage")
    chat = {"model": "scripted", "messages": [{"role": "user", "content": f"/call {name} {json.dumps(given)}"}]}
    assert host.http.post("/v1/chat/completions", json=chat, headers=trace.fields).status_code == 200
    call = (f"execute_tool {name}", [("MCP send tools/call sampling/createMessage", []), TURN])
    assert receiver.tree(trace, 6) == [("POST /v1/chat/completions", [TURN, call, TURN])]


@pytest.mark.parametrize("is_in_message", [False, True])
def test_call_over_mcp_has_the_sdks_span(is_in_message: bool, host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    parameters: dict[str, Any] = {"name": "chat_completion", "arguments": {"messages": MESSAGES}}
    if is_in_message:
        parameters["_meta"] = trace.fields
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    answer = host.http.post("/mcp/llm", json=body, headers={} if is_in_message else trace.fields)
    assert answer.status_code == 200, answer.text
    call = ("tools/call chat_completion", [TURN])
    expected = [call] if is_in_message else [("POST /mcp/llm", [call])]
    assert receiver.tree(trace, 2 if is_in_message else 3) == expected


def test_response_in_the_background_goes_on_in_the_trace(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    body = {"model": "scripted", "input": "/echo hello", "tools": [], "background": True}
    assert host.http.post("/v1/responses", json=body, headers=trace.fields).status_code == 200
    assert receiver.tree(trace, 3) == [("POST /v1/responses", [("request", [TURN])])]


def test_each_response_on_a_socket_is_a_request(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    url = host.url.replace("http", "ws", 1) + "/v1/responses"
    with connect(url, additional_headers=trace.fields) as socket:
        for _ in range(2):
            asked = {"type": "response.create", "model": "scripted", "input": "/echo hello", "tools": []}
            socket.send(json.dumps(asked))
            while json.loads(socket.recv())["type"] != "response.completed":
                pass
    assert receiver.tree(trace, 4) == [("request", [TURN])] * 2


def test_attached_mcp_server_passes_the_trace_on_to_its_host(
    host: ServedHost, receiver: TraceReceiver, tmp_path: Path
) -> None:
    trace = ClientTrace()
    parameters = {"name": "chat_completion", "arguments": {"messages": MESSAGES}, "_meta": trace.fields}
    with stdio_server("llm", "--url", host.url, cwd=tmp_path) as server:
        server.greet()
        server.say({"jsonrpc": "2.0", "id": "traced", "method": "tools/call", "params": parameters})
        assert server.line()["result"]["content"]
    looked_up = [("GET /v1/models", []), ("GET /v1/models/{model_id}/info", [])]
    assert receiver.tree(trace, 4) == [*looked_up, ("POST /v1/chat/completions", [TURN])]


PROGRAM = """
import asyncio, sys
from modelhost.host import Host
from opentelemetry import trace

async def main():
    async with Host(engine="scripted", otlp_endpoint=sys.argv[1], data_dir=sys.argv[2]) as host:
        with trace.get_tracer("program").start_as_current_span("mine"):
            await host.chat("/echo hello")
            async for _ in host.chat_stream("/echo hello"):
                pass

asyncio.run(main())
"""


def test_calls_from_python_are_requests_within_the_programs_span(receiver: TraceReceiver, tmp_path: Path) -> None:
    before = len(receiver.spans)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, receiver.url, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = sorted(receiver.spans[before:], key=lambda span: span.start)
    mine, *others = (span for span in found if span.name in ("mine", "request", "chat scripted"))
    assert [span.name for span in others] == ["request", "chat scripted"] * 2
    requests = others[::2]
    assert {span.parent_id for span in requests} == {mine.span_id}
    assert [span.parent_id for span in others[1::2]] == [span.span_id for span in requests]
