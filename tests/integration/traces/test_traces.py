"""The trees of spans that a running host exports, and what is in them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.traces.conftest import FAILING, PRIVATE
from tests.support.eventually import eventually
from tests.support.raw_http import read_until, send_chat
from tests.support.registries import scripted, write_registry
from tests.support.serving import ServedHost
from tests.support.tool_hosts import stub_server, told
from tests.support.traces import QUICK, ClientTrace, ReceivedSpan, TraceReceiver

CHAT = "POST /v1/chat/completions"


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def chat(host: ServedHost, text: str, trace: ClientTrace, **fields: Any) -> Any:
    return host.http.post("/v1/chat/completions", json=said(text, **fields), headers=trace.fields)


def named(found: list[ReceivedSpan], name: str) -> ReceivedSpan:
    (span,) = (span for span in found if span.name == name)
    return span


@pytest.mark.parametrize("stream", [False, True])
def test_chat_is_a_request_with_a_turn_of_the_model(stream: bool, host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    fields = {"temperature": 0.5, "max_tokens": 7, "mcp": {"servers": []}}
    answer = chat(host, "/echo one two three", trace, stream=stream, **fields)
    assert answer.status_code == 200
    assert receiver.tree(trace, 2) == [(CHAT, [("chat scripted", [])])]
    request, turn = receiver.of(trace, 2)
    assert (request.kind, turn.kind) == ("server", "client")
    assert (
        request.attributes.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/v1/chat/completions",
            "http.response.status_code": 200,
            "modelhost.model": "scripted",
        }.items()
    )
    time_to_first = turn.attributes["gen_ai.response.time_to_first_chunk"]
    assert turn.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stream": stream,
        "gen_ai.response.id": turn.attributes["gen_ai.response.id"],
        "gen_ai.response.model": "scripted",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 4,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.response.time_to_first_chunk": time_to_first,
    }
    assert not any(span.is_error for span in (request, turn))
    assert request.resource["service.name"] == "modelhost"


def test_request_without_a_trace_begins_one(host: ServedHost, receiver: TraceReceiver) -> None:
    host.http.post("/v1/chat/completions", json=said("/echo alone", session_id="of-its-own"))
    eventually(lambda: any(span.attributes.get("gen_ai.conversation.id") == "of-its-own" for span in receiver.spans))
    (turn,) = (span for span in receiver.spans if span.attributes.get("gen_ai.conversation.id") == "of-its-own")
    eventually(lambda: any(span.span_id == turn.parent_id for span in receiver.spans))
    (request,) = (span for span in receiver.spans if span.span_id == turn.parent_id)
    assert (request.name, request.parent_id) == (CHAT, "")


def test_tool_calls_stand_beside_the_turns_with_the_sdks_spans_below(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    assert chat(host, "say it again", trace).status_code == 200
    call = ("execute_tool sdk_echo", [("MCP send tools/call echo", [])])
    assert receiver.tree(trace, 5) == [(CHAT, [("chat scripted", []), call, ("chat scripted", [])])]
    found = receiver.of(trace, 5)
    tool, sent = named(found, "execute_tool sdk_echo"), named(found, "MCP send tools/call echo")
    assert tool.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.type": "extension",
        "gen_ai.tool.name": "sdk_echo",
        "gen_ai.tool.call.id": tool.attributes["gen_ai.tool.call.id"],
        "modelhost.mcp.server": "sdk",
    }
    assert (sent.kind, sent.attributes["mcp.method.name"]) == ("client", "tools/call")
    reasons = [span.attributes["gen_ai.response.finish_reasons"] for span in found if span.name == "chat scripted"]
    assert reasons == [["tool_calls"], ["stop"]]


def test_failed_tool_has_its_code_and_not_its_words(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    assert chat(host, "let it fail", trace).status_code == 200
    found = receiver.of(trace, 5)
    tool = named(found, "execute_tool stub_fail")
    assert (tool.is_error, tool.attributes["error.type"]) == (True, "tool_failed")
    assert [(span.message, span.events) for span in found] == [("", 0)] * 5
    assert not named(found, CHAT).is_error


def test_approval_is_a_span_of_the_call(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    body = said("may I", stream=True)
    with host.http.stream("POST", "/v1/chat/completions", json=body, headers=trace.fields) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {") and (asked := told([json.loads(line[6:])], "question")):
                host.http.post(f"/v1/mcp/approvals/{asked[0]['id']}", json={"approve": False})
    call = ("execute_tool careful_echo", [("approval careful_echo", [])])
    assert receiver.tree(trace, 5) == [(CHAT, [("chat scripted", []), call, ("chat scripted", [])])]
    found = receiver.of(trace, 5)
    assert named(found, "approval careful_echo").attributes["modelhost.approval"] == "denied"
    assert named(found, "execute_tool careful_echo").attributes["error.type"] == "tool_denied"


def test_approval_by_another_request_is_in_the_traces_of_both(host: ServedHost, receiver: TraceReceiver) -> None:
    asking, deciding = ClientTrace(), ClientTrace()
    tools = [{"type": "mcp", "server_label": "careful", "require_approval": "always"}]
    body = {"model": "scripted", "input": "may I", "tools": tools}
    first = host.http.post("/v1/responses", json=body, headers=asking.fields).json()
    (question,) = (item for item in first["output"] if item["type"] == "mcp_approval_request")
    answer = {"type": "mcp_approval_response", "approval_request_id": question["id"], "approve": True}
    more = {**body, "previous_response_id": first["id"], "input": [answer]}
    assert host.http.post("/v1/responses", json=more, headers=deciding.fields).json()["status"] == "completed"
    door = "POST /v1/responses"
    assert receiver.tree(asking, 3) == [(door, [("chat scripted", []), ("approval careful_echo", [])])]
    assert named(receiver.of(asking, 3), "approval careful_echo").attributes["modelhost.approval"] == "deferred"
    call = ("execute_tool careful_echo", [("approval careful_echo", []), ("MCP send tools/call echo", [])])
    assert receiver.tree(deciding, 5) == [(door, [call, ("chat scripted", [])])]
    assert named(receiver.of(deciding, 5), "approval careful_echo").attributes["modelhost.approval"] == "approved"


def test_wait_for_a_model_has_its_load(receiver: TraceReceiver, tmp_path: Path) -> None:
    path = write_registry(tmp_path / "models.yaml", scripted("ant"), scripted("bee"))
    trace = ClientTrace()
    with ServedHost(environment=QUICK, otlp_endpoint=receiver.url, models_config=path, max_models=1) as host:
        assert chat(host, "/echo hello", trace, model="bee").status_code == 200
        assert receiver.tree(trace, 4) == [(CHAT, [("queue", [("load bee", [])]), ("chat bee", [])])]
    _, queue, load, _ = receiver.of(trace, 4)
    assert queue.attributes == {"modelhost.model": "bee", "modelhost.queue.position": 1}
    assert load.attributes["modelhost.load.seconds"] > 0
    assert queue.start <= load.start <= load.end <= queue.end


def test_error_of_the_engine_is_one_of_the_turn_and_the_request(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    answer = chat(host, "out of order", trace)
    code = answer.json()["error"]["code"]
    found = receiver.of(trace, 2)
    assert [(span.is_error, span.attributes["error.type"]) for span in found] == [(True, code)] * 2
    assert found[0].attributes["http.response.status_code"] == answer.status_code


def test_error_of_the_client_leaves_the_status_unset(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    assert chat(host, "hello", trace, model="nowhere").status_code == 404
    (request,) = receiver.of(trace, 1)
    assert (request.is_error, request.attributes["error.type"]) == (False, "model_not_found")


def test_request_of_a_client_that_leaves_is_cancelled(host: ServedHost, receiver: TraceReceiver) -> None:
    with closing(send_chat(host.url, "/hang 2", stream=True, session_id="left-early")) as connection:
        read_until(connection, b"data: ")
    eventually(lambda: any(span.attributes.get("gen_ai.conversation.id") == "left-early" for span in receiver.spans))
    (turn,) = (span for span in receiver.spans if span.attributes.get("gen_ai.conversation.id") == "left-early")
    eventually(lambda: any(span.span_id == turn.parent_id for span in receiver.spans))
    (request,) = (span for span in receiver.spans if span.span_id == turn.parent_id)
    assert [(span.is_error, span.attributes["error.type"]) for span in (turn, request)] == [(False, "cancelled")] * 2


def test_worker_elsewhere_continues_the_trace(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    here = {"model": f"{host.url}/v1", "alias": ["here"], "engine_options": {"dialect": "modelhost"}}
    with ServedHost(environment=QUICK, otlp_endpoint=receiver.url, **here) as front:
        assert chat(front, "/echo from afar", trace, mcp={"servers": []}).status_code == 200
        there = (CHAT, [("chat scripted", [])])
        assert receiver.tree(trace, 4) == [(CHAT, [("chat here", [there])])]


def test_no_words_of_anybody_are_exported(host: ServedHost, receiver: TraceReceiver) -> None:
    trace = ClientTrace()
    assert PRIVATE in chat(host, "say it again", trace).text
    assert chat(host, "let it fail", ClientTrace()).status_code == 200
    receiver.of(trace, 5)
    exported = b"".join(receiver.bodies)
    assert [text for text in (PRIVATE, FAILING, "say it again", "let it fail") if text.encode() in exported] == []


def test_words_are_exported_where_the_setting_says_so(receiver: TraceReceiver, tmp_path: Path) -> None:
    mcp = tmp_path / "mcp.json"
    mcp.write_text(json.dumps({"mcpServers": {"stub": stub_server()}}))
    settings: dict[str, Any] = {"engine": "scripted", "mcp_config": str(mcp), "wait_for_tools": "ready"}
    trace, streamed = ClientTrace(), ClientTrace()
    with ServedHost(environment=QUICK, otlp_endpoint=receiver.url, otlp_content=True, **settings) as host:
        assert chat(host, '/call stub_echo {"text": "well"}', trace).status_code == 200
        assert chat(host, "/echo so be it", streamed, stream=True, mcp={"servers": []}).status_code == 200
        found = receiver.of(trace, 5)
        _, relayed = receiver.of(streamed, 2)
    tool = named(found, "execute_tool stub_echo").attributes
    assert (json.loads(tool["gen_ai.tool.call.arguments"]), tool["gen_ai.tool.call.result"]) == (
        {"text": "well"},
        "well",
    )
    first, second = (span.attributes for span in found if span.name.startswith("chat "))
    (answer,) = json.loads(first["gen_ai.output.messages"])
    assert (answer["finish_reason"], answer["parts"][-1]["name"]) == ("tool_calls", "stub_echo")
    roles = [message["role"] for message in json.loads(second["gen_ai.input.messages"])]
    assert roles == ["user", "assistant", "tool"]
    assert json.loads(relayed.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "so be it"}], "finish_reason": "stop"}
    ]
