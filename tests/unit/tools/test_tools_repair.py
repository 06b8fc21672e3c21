"""Messages of MCP servers that are almost right."""

from __future__ import annotations

import json
from typing import Any

import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from modelhost.tools.remote import RepairingStream
from modelhost.tools.repair import message_of, repaired, unreadable
from modelhost.tools.status import ToolProblemReport

HANDSHAKE, MODERN = "2025-11-25", "2026-07-28"
OBJECT = {"type": "object"}
TEXT = {"type": "text", "text": "hello"}


def line_of(text: str) -> str:
    return f'{{"jsonrpc":"2.0","id":5,"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}'


def text_of(message: types.JSONRPCMessage) -> str:
    assert isinstance(message, types.JSONRPCResponse)
    found: str = message.result["content"][0]["text"]
    return found


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (line_of("plain").encode(), "plain"),
        (line_of("\\ud83d").encode(), "\ufffd"),
        (line_of("a\\udc00b\\ud83dc").encode(), "a\ufffdb\ufffdc"),
        (line_of("\\ud83d\\ude00").encode(), "😀"),
        (line_of("\\\\ud83d \\ud83d").encode(), "\\ud83d \ufffd"),
        (line_of("caf\u00e9").encode("latin-1"), "caf\ufffd"),
    ],
)
def test_what_is_no_unicode_becomes_replacement_characters(line: bytes, wanted: str) -> None:
    assert text_of(message_of(line)) == wanted


@pytest.mark.parametrize("line", [b"Server is starting", b"", b'{"level": "info"}', b"[1]", b'{"a":' * 5000])
def test_what_is_no_message_is_none(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        message_of(line)


ANSWER = line_of("hello").encode()
RESULT_FIRST = b'{"result":{"content":[{"type":"text","text":"hel'


@pytest.mark.parametrize(
    ("line", "waiting", "ids"),
    [
        (ANSWER[:-20], {5, 6}, [5]),
        (ANSWER[:-20], None, [5]),
        (ANSWER[:-20], {6, 7}, []),
        (ANSWER[:40] + ANSWER.replace(b":5", b":6"), {5, 6}, [5, 6]),
        (b'{"jsonrpc":"2.0",' + RESULT_FIRST[1:], {7}, [7]),
        (b'{"jsonrpc":"2.0",' + RESULT_FIRST[1:], {7, 8}, []),
        (b'{"jsonrpc":"2.0","method":"notifications/message","params":{"da', {7}, []),
        (b'{"level": "info"', {7}, []),
        (b"Server is starting", {7}, []),
    ],
)
def test_an_answer_that_cannot_be_read_fails_the_request_that_waits_for_it(
    line: bytes, waiting: set[types.RequestId] | None, ids: list[int]
) -> None:
    found = unreadable(line, waiting)
    assert [each.id for each in found] == ids
    assert {each.error.code for each in found} <= {types.PARSE_ERROR}


@pytest.mark.parametrize("version", [HANDSHAKE, MODERN])
def test_tools_that_are_not_described_as_they_should_be_are_left_out_and_named(version: str) -> None:
    good = {"name": "good", "inputSchema": {**OBJECT, "properties": {"a": True}}}
    tools = [{}, {"name": "bare"}, good, {"name": "text", "inputSchema": "x"}, "nonsense", {"name": 5}]
    problems: list[ToolProblemReport] = []
    cache = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if version == MODERN else {}
    assert repaired({"tools": tools, **cache}, version, problems.append) == {"tools": [good], **cache}
    assert [problem.tool for problem in problems] == ["tool 1", "bare", "text", "tool 5", "tool 6"]
    assert (problems[1].location, problems[1].message) == ("#/inputSchema", "Field required")
    assert not any(problem.is_offered for problem in problems)


def test_an_output_schema_that_the_version_does_not_have_is_named() -> None:
    tool = {"name": "list", "inputSchema": OBJECT, "outputSchema": {"type": "array"}}
    problems: list[ToolProblemReport] = []
    assert repaired({"tools": [tool]}, HANDSHAKE, problems.append) == {"tools": []}
    assert [problem.location for problem in problems] == ["#/outputSchema/type"]


@pytest.mark.parametrize(
    "result",
    [{"tools": [{"name": "good", "inputSchema": OBJECT}]}, {"contents": []}, {"messages": []}, {}],
    ids=json.dumps,
)
def test_what_is_right_stays_as_it_is(result: dict[str, Any]) -> None:
    assert repaired(result, HANDSHAKE, pytest.fail) is result


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"content": [TEXT], "isError": True}, {"content": [TEXT], "isError": True}),
        ({"structuredContent": {"a": 1}}, {"structuredContent": {"a": 1}, "content": []}),
        ({"content": None, "structuredContent": {}}, {"content": [], "structuredContent": {}}),
        ({"content": TEXT}, {"content": [TEXT]}),
        ({"content": "hello"}, {"content": [TEXT]}),
        ({"content": [{"type": "video", "data": "A"}]}, {"content": [{"type": "text", "text": "[video]"}]}),
        ({"content": [{"type": "note", "text": "hello"}]}, {"content": [TEXT]}),
        ({"content": [{"type": "text", "text": None}, 5]}, {"content": [
            {"type": "text", "text": "null"}, {"type": "text", "text": "5"}]}),
        ({"content": [], "structuredContent": [1]}, {"content": [{"type": "text", "text": "[1]"}]}),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_what_a_tool_returned_is_kept_as_far_as_it_can_be_shown(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = repaired(given, HANDSHAKE, pytest.fail)
    assert found == wanted
    types.CallToolResult.model_validate(found, by_name=False)


def test_structured_content_of_any_kind_is_kept_where_the_version_has_it() -> None:
    assert repaired({"content": [], "structuredContent": [1]}, MODERN, pytest.fail)["structuredContent"] == [1]


class Stream:
    """What the SDK reads from a server at an address."""

    def __init__(self, *received: SessionMessage | Exception) -> None:
        self._received = list(received)

    async def receive(self) -> SessionMessage | Exception:
        return self._received.pop(0)

    async def aclose(self) -> None:
        pass


def failure(text: str) -> Exception:
    with pytest.raises(ValidationError) as caught:
        types.jsonrpc_message_adapter.validate_json(text, by_name=False)
    return caught.value


async def test_what_the_sdk_cannot_read_over_http_is_read_anew_or_fails_its_request(virtual_time: None) -> None:
    notification = failure('{"jsonrpc":"2.0","method":"notifi')
    inner: Any = Stream(failure(line_of("\\ud83d")), failure(line_of("hello")[:-9]), notification)
    seen: list[types.JSONRPCMessage] = []
    stream = RepairingStream(inner, pytest.fail, seen.append)
    read, failed = await stream.receive(), await stream.receive()
    assert isinstance(read, SessionMessage)
    assert text_of(read.message) == "\ufffd"
    assert isinstance(failed, SessionMessage)
    assert isinstance(failed.message, types.JSONRPCError)
    assert failed.message.id == 5
    assert await stream.receive() is notification
    assert seen == [read.message, failed.message]


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (line_of("a\x1b[0m").encode(), "a\x1b[0m"),
        (b"\xef\xbb\xbf" + line_of("plain").encode(), "plain"),
        (line_of('{[\\"').encode()[:-2] + f',"deep":{nested(300)}}}}}'.encode(), '{["'),
        (line_of("first").encode()[:-2] + f',"deep":{"[" * 50_000}{"]" * 50_000}}}}}'.encode(), "first"),
    ],
)
def test_what_is_wrong_with_a_part_of_a_message_costs_that_part(line: bytes, wanted: str) -> None:
    assert text_of(message_of(line)) == wanted


def test_what_is_nested_too_deep_is_left_out() -> None:
    line = f'{{"jsonrpc":"2.0","id":5,"result":{{"deep":{nested(500)},"more":{nested(500)},"rest":[1]}}}}'
    message = message_of(line.encode())
    assert isinstance(message, types.JSONRPCResponse)
    for name in ("deep", "more"):
        value, levels = message.result[name], 2
        while isinstance(value, dict):
            value, levels = value["a"], levels + 1
        assert (value, levels) == ("[nested too deep]", 190)
    assert message.result["rest"] == [1]


def test_fields_of_a_result_that_are_of_a_wrong_kind_go() -> None:
    assert repaired({"content": [TEXT], "isError": None, "_meta": 5}, HANDSHAKE, print) == {"content": [TEXT]}


def test_integers_of_any_size_in_contents_are_shown() -> None:
    given = {"content": [{"type": "hologram", "text": 2**70}], "structuredContent": [2**70]}
    shown = repaired(given, HANDSHAKE, print)["content"]
    assert [each["text"] for each in shown] == ["1180591620717411303424", "[1180591620717411303424]"]
