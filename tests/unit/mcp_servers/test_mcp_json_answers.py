"""Answers of media as JSON: which calls get them, and what becomes of a stream of events."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.mcp_servers.json_answers import JsonSend, is_for_json

START = {"type": "http.response.start", "status": 200}
EVENTS, JSON = b"text/event-stream", b"application/json"


def call(tool: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}, **params}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (call("speak"), True),
        (call("generate_image", _meta={"other": 1}), True),
        (call("generate_image", _meta={"progressToken": 0}), False),
        (call("transcribe"), False),
        ({"method": "tools/list"}, False),
        ({"method": "tools/call", "params": {"name": ["speak"]}}, False),
        ([call("speak")], False),
    ],
)
def test_calls_of_media_without_progress_get_json(message: Any, expected: bool) -> None:
    assert is_for_json(message) is expected


async def answered(content_type: bytes, *parts: bytes) -> tuple[bytes, bytes]:
    """Return the type and the body of an answer of ``parts``."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    sending = JsonSend(send)
    await sending({**START, "headers": [(b"content-type", content_type), (b"mcp-session-id", b"s")]})
    for part in parts:
        await sending({"type": "http.response.body", "body": part, "more_body": True})
    await sending({"type": "http.response.body", "body": b"", "more_body": False})
    headers = dict(sent[0]["headers"])
    assert headers[b"mcp-session-id"] == b"s"
    assert sent[-1]["more_body"] is False
    return headers[b"content-type"], b"".join(message["body"] for message in sent[1:])


async def test_the_answer_in_events_is_the_body_and_comments_are_blanks() -> None:
    parts = (b": ping\r\n\r\nevent: mess", b'age\r\ndata: {"id":1,', b'"result":{}}\r\n\r', b"\n")
    assert await answered(EVENTS, *parts) == (JSON, b'\n{"id":1,"result":{}}')


async def test_notifications_are_no_part_of_the_body() -> None:
    notified = b'data: {"method":"notifications/message"}\n\n'
    assert await answered(EVENTS, notified, b'data: {"id":1,"error":{}}\n\n') == (JSON, b'{"id":1,"error":{}}')


async def test_an_answer_that_is_no_stream_stays_as_it_is() -> None:
    assert await answered(JSON, b'{"id":1}\n') == (JSON, b'{"id":1}\n')
