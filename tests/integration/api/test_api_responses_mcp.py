"""MCP tools in the Responses API: servers of the host and of the request, lists, calls, approvals, limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.mcp_peers import free_port, sdk_http
from tests.support.serving import ServedHost
from tests.support.tool_hosts import calls, config, sdk_server, stub_server, wait_for_tools

Json = dict[str, Any]
RESPONSES = "/v1/responses"
QUESTION = "modelhost.question"
STUB: Json = {"type": "mcp", "server_label": "stub"}
SDK: Json = {"type": "mcp", "server_label": "sdk"}
ECHO = '/call stub_echo {"text": "four"}'
SCRIPT = [
    calls("both words", ("stub_echo", {"text": "one"}), ("stub_echo", {"text": "two"}), reply="Both."),
    calls("mixed tools", ("stub_echo", {"text": "one"}), ("weather", {"city": "Rome"}), reply="Mixed."),
    calls("its city", ("stub_echo", {"text": "Rome"}), reply='{"city": "Rome"}'),
    calls("two cities", ("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})),
]
CITY: Json = {
    "format": {
        "type": "json_schema",
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    }
}
WEATHER: Json = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server that is none of the host's."""
    with sdk_http("streamable-http", free_port()) as started:
        yield started


@pytest.fixture(scope="module")
def host(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with a server of its own, which connects to the one at ``url`` although it is on this machine."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "script.json").write_text(json.dumps(SCRIPT), "utf-8")
    sdk, off = {**sdk_server(), "sampling": "auto"}, {**stub_server(), "disabled": True}
    path = config(folder, stub=stub_server(tools=["echo", "big"]), sdk=sdk, off=off)
    permitted = {"remote_mcp_servers": True, "fetch_hosts": [httpx2.URL(url).netloc.decode()]}
    options = {"engine_options": {"script": str(folder / "script.json")}}
    with ServedHost(engine="scripted", alias=["scripted"], mcp_config=path, **options, **permitted) as started:
        yield wait_for_tools(started, but=("off",))


def create(host: ServedHost, given: Any, *tools: Json, **fields: Any) -> Json:
    asked = {"tools": list(tools)} if tools else {}
    answer = host.http.post(RESPONSES, json={"input": given, "store": False, **asked, **fields})
    found: Json = answer.json()
    assert answer.status_code == 200, found
    return found


def events_of(host: ServedHost, given: Any, *tools: Json, **fields: Any) -> list[Json]:
    body = {"input": given, "stream": True, "store": False, "tools": list(tools), **fields}
    with host.http.stream("POST", RESPONSES, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    found = [json.loads(line) for line in lines]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def kinds(response: Json) -> list[str]:
    return [item["type"] for item in response["output"]]


def of_kind(response: Json, kind: str) -> list[Json]:
    return [item for item in response["output"] if item["type"] == kind]


# Servers of the host.


def test_tools_of_the_host_are_listed_and_called(host: ServedHost) -> None:
    found = create(host, ECHO, STUB)
    assert kinds(found) == ["mcp_list_tools", "mcp_call", "message"]
    listed, call, _ = found["output"]
    assert {tool["name"] for tool in listed["tools"]} == {"echo", "big"}
    assert (call["server_label"], call["name"], call["output"]) == ("stub", "echo", "four")
    assert json.loads(call["arguments"]) == {"text": "four"}


def test_without_a_server_tools_of_the_host_are_called_and_not_listed(host: ServedHost) -> None:
    assert kinds(create(host, ECHO)) == ["mcp_call", "message"]


def test_a_stream_tells_of_lists_and_calls_as_they_happen(host: ServedHost) -> None:
    found = [event["type"] for event in events_of(host, ECHO, STUB)]
    wanted = [
        "response.created",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
        "response.output_text.done",
        "response.completed",
    ]
    assert [kind for kind in found if kind in wanted] == wanted


def test_only_allowed_tools_are_listed(host: ServedHost) -> None:
    for allowed in (["echo"], {"tool_names": ["echo"]}):
        (listed,) = of_kind(create(host, "/echo hello", {**STUB, "allowed_tools": allowed}), "mcp_list_tools")
        assert [tool["name"] for tool in listed["tools"]] == ["echo"]


def test_without_a_choice_of_tools_they_are_listed_and_not_called(host: ServedHost, url: str) -> None:
    other = {"type": "mcp", "server_label": "theirs", "server_url": url}
    for server in (STUB, other):
        found = create(host, ECHO, server, tool_choice="none")
        assert kinds(found) == ["mcp_list_tools", "message"]
        assert found["output"][0]["tools"]
    found = create(host, "its city", STUB, tool_choice="none", text=CITY)
    assert kinds(found) == ["mcp_list_tools", "message"]


def test_a_server_without_allowed_tools_has_an_empty_list(host: ServedHost) -> None:
    found = create(host, "/echo hello", {**STUB, "allowed_tools": []})
    assert kinds(found) == ["mcp_list_tools", "message"]
    assert (found["output"][0]["tools"], "error" in found["output"][0]) == ([], False)


def test_a_server_that_is_disabled_is_listed_with_the_reason(host: ServedHost) -> None:
    found = create(host, "/echo hello", {"type": "mcp", "server_label": "off"}, STUB)
    listed = {item["server_label"]: item for item in of_kind(found, "mcp_list_tools")}
    assert (listed["off"]["tools"], listed["off"]["error"]) == ([], "The MCP server is not ready: disabled.")
    assert listed["stub"]["tools"]


def test_without_parallel_calls_the_first_of_a_turn_is_made(host: ServedHost) -> None:
    found = create(host, "both words", STUB, parallel_tool_calls=False)
    assert [call["output"] for call in of_kind(found, "mcp_call")] == ["one"]
    assert kinds(found)[-1] == "message"
    mixed = create(host, "mixed tools", STUB, WEATHER, parallel_tool_calls=False)
    assert kinds(mixed) == ["mcp_list_tools", "mcp_call", "message"]
    of_client = create(host, "two cities", WEATHER, parallel_tool_calls=False)
    assert [(item["type"], item["arguments"]) for item in of_client["output"]] == [
        ("function_call", '{"city": "Rome"}')
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
    ],
    ids=str,
)
def test_what_cannot_be_had_with_servers_is_refused_by_its_own_name(host: ServedHost, fields: Json, param: str) -> None:
    refused = host.http.post(RESPONSES, json={"input": "Hello", "tools": [STUB], **fields})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, param)
    assert error["message"].startswith(f"{param}: ")


def test_an_answer_with_servers_has_its_format(host: ServedHost) -> None:
    found = create(host, "its city", STUB, text=CITY)
    assert kinds(found) == ["mcp_list_tools", "mcp_call", "message"]
    assert found["output"][-1]["content"][0]["text"] == '{"city": "Rome"}'


def test_a_model_that_writes_something_else_writes_the_answer_once_more(tmp_path: Path) -> None:
    with ServedHost(mcp_config=config(tmp_path, stub=stub_server(tools=["echo"]))) as nano:
        wait_for_tools(nano)
        asked: Json = {"text": CITY, "max_output_tokens": 200, "tool_choice": "auto"}
        found = create(nano, "Hello!", STUB, **asked)
        streamed = events_of(nano, "Hello!", STUB, **asked)
    assert isinstance(json.loads(found["output"][-1]["content"][0]["text"])["city"], str)
    (text,) = [event["text"] for event in streamed if event["type"] == "response.output_text.done"]
    assert text == "".join(event["delta"] for event in streamed if event["type"] == "response.output_text.delta")
    assert isinstance(json.loads(text)["city"], str)


def test_parallel_calls_are_kept_apart(host: ServedHost) -> None:
    found = create(host, "both words", STUB)
    made = of_kind(found, "mcp_call")
    assert [call["output"] for call in made] == ["one", "two"]
    assert len({call["id"] for call in made}) == 2


def test_a_list_in_the_conversation_is_not_made_again(host: ServedHost) -> None:
    first = create(host, ECHO, STUB)
    given = [{"role": "user", "content": ECHO}, *first["output"], {"role": "user", "content": "/echo so"}]
    assert kinds(create(host, given, STUB)) == ["message"]


def test_tools_of_the_client_come_beside_those_of_the_host(host: ServedHost) -> None:
    found = create(host, "mixed tools", STUB, WEATHER)
    assert kinds(found) == ["mcp_list_tools", "mcp_call", "function_call"]
    call = found["output"][2]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    given = [{"role": "user", "content": "mixed tools"}, *found["output"], result]
    assert kinds(create(host, given, STUB, WEATHER)) == ["message"]


def test_calls_beyond_the_limit_are_not_made(host: ServedHost) -> None:
    found = create(host, "both words", STUB, max_tool_calls=1)
    assert found["status"] == "completed"
    made = of_kind(found, "mcp_call")
    assert [call["output"] for call in made if call["output"] is not None] == ["one"]
    assert kinds(found)[-1] == "message"


# Servers of the request.


def test_a_server_at_an_address_is_called(host: ServedHost, url: str) -> None:
    theirs = {"type": "mcp", "server_label": "theirs", "server_url": url, "require_approval": "never"}
    found = create(host, '/call theirs_add {"a": 2, "b": 3}', theirs)
    (call,) = of_kind(found, "mcp_call")
    assert (call["server_label"], call["name"], call["output"]) == ("theirs", "add", '{\n  "total": 5\n}')
    assert "server_url" in found["tools"][0]


def test_only_tools_that_read_are_taken_of_a_server_at_an_address(host: ServedHost, url: str) -> None:
    theirs = {"type": "mcp", "server_label": "theirs", "server_url": url, "require_approval": "never"}
    reading = create(host, "/echo hello", {**theirs, "allowed_tools": {"read_only": True}})
    assert [tool["name"] for tool in reading["output"][0]["tools"]] == ["echo"]
    (call,) = of_kind(
        create(host, '/call theirs_add {"a": 2, "b": 3}', {**theirs, "allowed_tools": {"read_only": True}}), "mcp_call"
    )
    assert call["status"] == "failed"
    writing = create(host, "/echo hello", {**theirs, "allowed_tools": {"read_only": False}})
    named = {tool["name"] for tool in writing["output"][0]["tools"]}
    assert "add" in named
    assert "echo" not in named


def test_a_server_at_an_address_needs_approvals_unless_told(host: ServedHost, url: str) -> None:
    theirs = {"type": "mcp", "server_label": "theirs", "server_url": url}
    found = create(host, '/call theirs_add {"a": 2, "b": 3}', theirs)
    assert kinds(found) == ["mcp_list_tools", "mcp_approval_request"]


# Approvals.


def asked_for(host: ServedHost) -> tuple[list[Json], Json]:
    """The items of an answer that waits for an approval, and its request."""
    said = {"role": "user", "content": ECHO}
    found = create(host, [said], {**STUB, "require_approval": "always"})
    assert (found["status"], kinds(found)) == ("completed", ["mcp_list_tools", "mcp_approval_request"])
    return [said, *found["output"]], found["output"][1]


@pytest.mark.parametrize("stream", [False, True])
def test_an_approved_call_is_made(host: ServedHost, stream: bool) -> None:
    items, request = asked_for(host)
    assert (request["server_label"], request["name"]) == ("stub", "echo")
    decision = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    server = {**STUB, "require_approval": "always"}
    if stream:
        found = events_of(host, [*items, decision], server)[-1]["response"]
    else:
        found = create(host, [*items, decision], server)
    assert kinds(found) == ["mcp_call", "message"]
    (call,) = of_kind(found, "mcp_call")
    assert (call["approval_request_id"], call["output"]) == (request["id"], "four")
    again = [*items, decision, *found["output"], {"role": "user", "content": "/echo so"}]
    assert kinds(create(host, again, server)) == ["message"]


def test_a_denied_call_is_told_to_the_model(host: ServedHost) -> None:
    items, request = asked_for(host)
    decision = {
        "type": "mcp_approval_response",
        "approval_request_id": request["id"],
        "approve": False,
        "reason": "not today",
    }
    found = create(host, [*items, decision], {**STUB, "require_approval": "always"})
    (call,) = of_kind(found, "mcp_call")
    assert (call["status"], call["output"]) == ("failed", None)
    assert "not today" in call["error"]["content"][0]["text"]
    assert kinds(found)[-1] == "message"


def test_a_call_that_was_approved_is_not_made_again(host: ServedHost) -> None:
    items, request = asked_for(host)
    decision = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    server = {**STUB, "require_approval": "always"}
    made = create(host, [*items, decision], server)
    again = {"input": [*items, decision, *made["output"], decision], "tools": [server], "store": False}
    refused = host.http.post(RESPONSES, json=again)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[6].approval_request_id")


def forked(host: ServedHost, server: Json = STUB, said: str = ECHO) -> tuple[Json, Json]:
    """A request that approves the call of a stored response, and the decision in it."""
    server = {**server, "require_approval": "always"}
    asked = create(host, said, server, store=True)
    decision = {"type": "mcp_approval_response", "approval_request_id": asked["output"][1]["id"], "approve": True}
    return {"previous_response_id": asked["id"], "input": [decision], "tools": [server]}, decision


def refused_decision(host: ServedHost, body: Json) -> Json:
    answer = host.http.post(RESPONSES, json=body)
    error: Json = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "input[0].approval_request_id"), error
    return error


@pytest.mark.parametrize("first", [{}, {"stream": True}, {"background": True}], ids=str)
@pytest.mark.parametrize("approves", [True, False])
def test_a_call_is_decided_about_in_one_of_the_responses_that_go_on_from_it(
    host: ServedHost, first: Json, approves: bool
) -> None:
    body, decision = forked(host)
    decided = host.http.post(RESPONSES, json={**body, **first, "input": [{**decision, "approve": approves}]})
    assert decided.status_code == 200, decided.text
    if first.get("background"):
        eventually(lambda: host.http.get(f"{RESPONSES}/{decided.json()['id']}").json()["status"] == "completed")
    for again in ({}, {"background": True}, {"store": False}):
        assert "another response" in refused_decision(host, {**body, **again})["message"]


def test_two_decisions_at_the_same_time_make_one_call(host: ServedHost) -> None:
    body, _ = forked(host, SDK, "/call sdk_hello {}")
    with host.http.stream("POST", RESPONSES, json={**body, "stream": True, "store": False}) as answer:
        events = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: {"))
        question = next(event[QUESTION] for event in events if QUESTION in event)
        refused_decision(host, body)
        reply = {"action": "accept", "content": {"name": "Anna"}}
        assert host.http.post(f"/v1/mcp/elicitations/{question['id']}", json=reply).status_code == 200
        *_, last = events
    assert kinds(last["response"]) == ["mcp_call", "message"]


def test_two_hosts_that_get_a_decision_at_the_same_time_make_one_call(
    start_host: Callable[..., ServedHost], database_url: str, tmp_path: Path
) -> None:
    path = config(tmp_path, sdk={**sdk_server(), "sampling": "auto"})
    made = [start_host(engine="scripted", mcp_config=path, database_url=database_url) for _ in range(2)]
    one, other = (wait_for_tools(each) for each in made)
    body, _ = forked(one, SDK, "/call sdk_hello {}")
    for kept in ({"store": False}, {}):
        with one.http.stream("POST", RESPONSES, json={**body, "stream": True, **kept}) as answer:
            lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {"))
            events = map(json.loads, lines)
            question = next(event[QUESTION] for event in events if QUESTION in event)
            for again in ({}, {"background": True}, {"store": False}):
                assert "another response" in refused_decision(other, {**body, **again})["message"]
            reply = {"action": "accept", "content": {"name": "Anna"}}
            assert one.http.post(f"/v1/mcp/elicitations/{question['id']}", json=reply).status_code == 200
            *_, last = events
        assert kinds(last["response"]) == ["mcp_call", "message"]
    assert "another response" in refused_decision(other, body)["message"]


def test_some_tools_need_approval(host: ServedHost) -> None:
    server = {**STUB, "require_approval": {"always": {"tool_names": ["big"]}, "never": {"tool_names": ["echo"]}}}
    assert kinds(create(host, ECHO, server)) == ["mcp_list_tools", "mcp_call", "message"]
    found = create(host, '/call stub_big {"count": 3}', server)
    assert kinds(found) == ["mcp_list_tools", "mcp_approval_request"]


# Questions and requests of a server during its call.


def test_openais_client_passes_over_the_progress_of_a_call(host: ServedHost) -> None:
    tools: list[Any] = [SDK]
    with host.client().responses.stream(model="scripted", input="/call sdk_work {}", tools=tools) as stream:
        kinds_of_events = [str(event.type) for event in stream]
        found = stream.get_final_response()
    assert "keepalive" in kinds_of_events
    assert [item.type for item in found.output] == ["mcp_list_tools", "mcp_call", "message"]


@pytest.mark.parametrize("kept", [{"store": False}, {"background": True}], ids=str)
def test_a_question_of_a_server_is_an_event_that_is_answered_over_http(host: ServedHost, kept: Json) -> None:
    body = {"input": "/call sdk_hello {}", "stream": True, "tools": [SDK], **kept}
    found: list[Json] = []
    with host.http.stream("POST", RESPONSES, json=body) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            found.append(json.loads(line.removeprefix("data: ")))
            if (question := found[-1].get(QUESTION)) is not None:
                reply = {"action": "accept", "content": {"name": "Anna"}}
                answered = host.http.post(f"/v1/mcp/elicitations/{question['id']}", json=reply)
                assert answered.status_code == 200, answered.text
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    (call,) = of_kind(found[-1]["response"], "mcp_call")
    assert "Anna" in call["output"]


def test_a_server_may_ask_the_model_during_its_call(host: ServedHost) -> None:
    (call,) = of_kind(create(host, "/call sdk_haiku {}", SDK), "mcp_call")
    assert call["error"] is None
    assert call["output"]
