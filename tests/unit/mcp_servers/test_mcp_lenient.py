"""Arguments that come as JSON text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhost.mcp_servers.lenient import LenientSession, ParsedLine, parse_call_arguments, parse_values

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "wait": {"type": "boolean"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "names": {"type": "array"},
        "config": {"type": "object"},
    },
}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"wait": "true", "count": "3", "share": "0.5"}, {"wait": True, "count": 3, "share": 0.5}),
        ({"names": '["a", "b"]', "config": '{"a": 1}'}, {"names": ["a", "b"], "config": {"a": 1}}),
        ({"text": "3", "unknown": "3"}, {"text": "3", "unknown": "3"}),
        ({"wait": True, "names": ["1"]}, {"wait": True, "names": ["1"]}),
        ({"wait": "perhaps", "count": "", "names": "a, b"}, {"wait": "perhaps", "count": "", "names": "a, b"}),
    ],
)
def test_a_text_is_read_where_something_else_is_wanted(given: dict[str, Any], read: dict[str, Any]) -> None:
    assert parse_values(given, SCHEMA) == read


def call(arguments: Any, method: str = "tools/call") -> dict[str, Any]:
    return {"id": 1, "method": method, "params": {"name": "t", "arguments": arguments}}


def test_all_arguments_may_be_one_text() -> None:
    assert parse_call_arguments(call('{"a": "1"}')) == call({"a": "1"})


@pytest.mark.parametrize(
    "message", [call({"a": "1"}), call("a=1"), call("[1]"), call("{}", method="prompts/get"), {"method": "tools/call"}]
)
def test_other_messages_stay_as_they_are(message: dict[str, Any]) -> None:
    assert parse_call_arguments(message) is message


MODERN = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}


def take(conversation: LenientSession, message: Any) -> ParsedLine:
    return conversation.receive(json.dumps(message).encode())


def request(method: str = "tools/list", key: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": key, "method": method, "params": params}


def answer(key: Any, **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": key, "result": result}


def notice() -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}


def greeted(name: str = "a client") -> LenientSession:
    """One whose handshake is over."""
    conversation = LenientSession()
    (greeting,) = take(conversation, request("initialize", 0, clientInfo={"name": name, "version": "1"})).messages
    assert conversation.outgoing(answer(greeting["id"])) is not None
    take(conversation, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    return conversation


def test_a_first_request_that_is_no_handshake_gets_one_before_it() -> None:
    conversation = LenientSession()
    taken = take(conversation, request(key=2))
    assert [message["method"] for message in taken.messages] == [
        "initialize",
        "notifications/initialized",
        "tools/list",
    ]
    hello = taken.messages[0]
    assert hello["params"]["protocolVersion"] == "2025-11-25"
    assert conversation.outgoing(answer(hello["id"])) is None
    assert conversation.outgoing(answer(2, tools=[])) == answer(2, tools=[])
    assert take(conversation, request(key=3)).messages == (request(key=3),)


def test_a_handshake_and_a_modern_request_are_left_alone() -> None:
    whole = request(
        "initialize", protocolVersion="2024-11-05", capabilities={}, clientInfo={"name": "x", "version": "1"}
    )
    assert take(LenientSession(), whole).messages == (whole,)
    modern = request("server/discover", **MODERN)
    assert take(LenientSession(), modern).messages == (modern,)


@pytest.mark.parametrize("params", [{}, {"protocolVersion": None}, None])
def test_what_a_handshake_leaves_out_is_filled_in(params: Any) -> None:
    (message,) = take(LenientSession(), {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).messages
    assert message["params"] == {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "unknown", "version": ""},
    }


def test_a_missing_version_is_added_and_a_foreign_one_refused() -> None:
    conversation = greeted()
    assert take(conversation, {"id": 5, "method": "tools/list"}).messages[0]["jsonrpc"] == "2.0"
    refused = take(conversation, {"jsonrpc": "1.0", "id": 6, "method": "tools/list"})
    assert refused.messages == ()
    assert refused.answer is not None
    assert (refused.answer["id"], refused.answer["error"]["code"]) == (6, -32600)


@pytest.mark.parametrize("key", [None, 1.5])
def test_a_request_whose_id_the_sdk_would_not_take_is_answered_under_it(key: Any) -> None:
    conversation = greeted()
    (message,) = take(conversation, request(key=key)).messages
    assert isinstance(message["id"], str)
    assert not conversation.is_idle
    assert conversation.outgoing(answer(message["id"])) == answer(key)
    assert conversation.is_idle


def test_a_call_without_an_id_is_answered_with_none() -> None:
    conversation = LenientSession()
    *_, message = take(conversation, {"method": "tools/call", "params": {"name": "chat_completion"}}).messages
    assert conversation.outgoing(answer(message["id"])) == answer(None)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello", -32700),
        (b'{"jsonrpc": "2.0"', -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 2000, -32700),
        (b"[]", -32600),
        (b'"tools/list"', -32600),
        (b"17", -32600),
        (b"{}", -32600),
        (b'{"id": 1}', -32600),
        (b'{"id": 1, "method": 7}', -32600),
        (b'{"id": 1, "method": "tools/list", "params": []}', -32600),
        (b'{"id": {}, "method": "tools/list"}', -32600),
        (b'{"id": true, "method": "tools/list"}', -32600),
    ],
)
def test_what_is_no_message_is_answered_and_goes_no_further(line: bytes, code: int) -> None:
    taken = greeted().receive(line)
    assert taken.messages == ()
    assert taken.answer is not None
    assert taken.answer["error"]["code"] == code
    assert taken.answer["id"] in (None, 1)


def test_blank_lines_are_nothing() -> None:
    assert LenientSession().receive(b"  \r") == ParsedLine()


@pytest.mark.parametrize("params", [{}, MODERN])
def test_a_ping_is_answered_before_during_and_after_the_handshake(params: dict[str, Any]) -> None:
    conversation = LenientSession()
    for _ in range(2):
        taken = take(conversation, request("ping", "p", **params))
        assert taken.answer is not None
        assert taken.answer["id"] == "p"
        assert taken.answer["result"] == ({"resultType": "complete"} if params else {})
        assert taken.messages == ()
        take(conversation, request("initialize"))


def test_notifications_reach_clients_that_shook_hands_and_no_others() -> None:
    assert greeted().outgoing(notice()) == notice()
    assert greeted("fluidmcp-client").outgoing(notice()) is None
    silent = LenientSession()
    take(silent, request())
    assert silent.outgoing(notice()) is None
    modern = LenientSession()
    take(modern, request("server/discover", **MODERN))
    assert modern.outgoing(notice()) == notice()


def test_fluidmcp_gets_a_line_for_each_line_but_for_its_own_notification() -> None:
    conversation = greeted("fluidmcp-client")
    taken = take(conversation, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert taken.answer == answer(None)
    assert len(taken.messages) == 1
    assert take(greeted(), {"jsonrpc": "2.0", "method": "notifications/initialized"}).answer is None


def test_a_client_is_idle_when_all_its_requests_are_answered_or_cancelled() -> None:
    conversation = greeted()
    assert conversation.is_idle
    for key in (1, "2", 3):
        take(conversation, request(key=key))
    conversation.outgoing(answer(1))
    take(conversation, {"method": "notifications/cancelled", "params": {"requestId": 2}})
    assert not conversation.is_idle
    conversation.outgoing({"jsonrpc": "2.0", "id": 3, "error": {"code": -32601, "message": "no"}})
    assert conversation.is_idle


def test_two_requests_with_one_id_are_two() -> None:
    conversation = greeted()
    take(conversation, request(key=4))
    take(conversation, request(key=4))
    conversation.outgoing(answer(4))
    assert not conversation.is_idle
    conversation.outgoing(answer(4))
    assert conversation.is_idle


def test_a_request_without_an_end_is_not_waited_for() -> None:
    conversation = LenientSession()
    take(conversation, request("subscriptions/listen", **MODERN))
    assert conversation.is_idle


def test_an_answer_of_the_client_is_passed_on() -> None:
    assert take(greeted(), answer("q1", ok=True)).messages == (answer("q1", ok=True),)


def test_arguments_of_a_call_may_be_json_text() -> None:
    call = request("tools/call", name="list-models", arguments='{"a": 1}')
    read = request("tools/call", name="list-models", arguments={"a": 1})
    assert take(greeted(), call).messages == (read,)
