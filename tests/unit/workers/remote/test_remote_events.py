"""Streams of servers elsewhere: all that server-sent events may look like, and what is not quite OpenAI's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest

from modelhost.chat.generation import Generation
from modelhost.engines.remote.engine import Remote
from modelhost.errors import EngineError, ModelhostError
from modelhost.exchange.tasks import Task
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.workers.connection import ConnectionBroken
from modelhost.workers.remote.events import RemoteEvents

pytestmark = pytest.mark.usefixtures("virtual_time")
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
DONE = b"data: [DONE]\n\n"


class Sent:
    """The body of an answer in the blocks in which it came; ``breaks`` instead of ending."""

    def __init__(self, *blocks: bytes, breaks: bool = False) -> None:
        self._blocks = [block for block in blocks if block]
        self._breaks = breaks

    async def read(self) -> bytes:
        if not self._blocks and self._breaks:
            raise ConnectionBroken("it ended before its answer did")
        return self._blocks.pop(0) if self._blocks else b""


class There:
    """A model whose server sends ``body``."""

    def __init__(self, body: Sent, task: Task = "chat") -> None:
        self._body = body
        self._task = task

    @asynccontextmanager
    async def stream(self, task: Task, body: dict[str, Any]) -> AsyncIterator[RemoteEvents]:
        async with aclosing(RemoteEvents(self._body, task=task, model="ours")) as events:
            yield events

    async def call(self, task: Task, body: dict[str, Any]) -> Any:
        raise AssertionError  # all answers are streamed

    async def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        raise AssertionError  # nothing but the answer is asked for

    def fetch_events(self, path: str, body: Mapping[str, Any]) -> Any:
        raise AssertionError

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        return Remote().translate_error(status, payload, model="ours", worker="w")


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "theirs", "choices": [choice], **more}


def _data(*payloads: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % orjson.dumps(payload) for payload in payloads)


HELLO = [_chunk({"role": "assistant", "content": "Hel"}), _chunk({"content": "lo"}), _chunk({}, "stop")]


async def _read(*blocks: bytes, breaks: bool = False, task: Task = "chat") -> bytes:
    events = RemoteEvents(Sent(*blocks, breaks=breaks), task=task, model="ours")
    read = b""
    while block := await events.read():
        assert block.endswith(b"\n\n")
        read += block
    return read


async def _whole(body: Sent, task: Task = "chat", **request: Any) -> dict[str, Any]:
    answer = WholeAnswer()
    async with aclosing(Generation(task, {"stream": True, **request}).pieces(There(body))) as pieces:
        async for piece in pieces:
            answer.add(piece)
    return answer.json()


async def _message(*blocks: bytes) -> dict[str, Any]:
    message: dict[str, Any] = (await _whole(Sent(*blocks)))["choices"][0]["message"]
    return message


FORMS = {
    "names and ids": b"event: message\nid: 7\nretry: 100\ndata: %s\n\n",
    "no blank": b"data:%s\n\n",
    "comments": b": keep-alive\n\n: again\ndata: %s\n\n: and\n",
    "CRLF": b"event: x\r\ndata: %s\r\n\r\n",
    "CR": b"data: %s\r\r",
    "unknown fields": b"x\nfoo: bar\ndata: %s\n\n",
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_legal_form_of_an_event_is_read(form: str) -> None:
    stream = b"".join(FORMS[form] % orjson.dumps(chunk) for chunk in HELLO) + FORMS[form] % b"[DONE]"
    for size in (1, 7, len(stream)):
        blocks = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert (await _message(*blocks))["content"] == "Hello"
    assert (await _read(stream)) == _data(*({**chunk, "model": "ours"} for chunk in HELLO)) + DONE


async def test_data_in_several_lines_is_one_text() -> None:
    lines = orjson.dumps(_chunk({"content": "one\u2028two"}, "stop"), option=orjson.OPT_INDENT_2).splitlines()
    assert (await _message(b"".join(b"data: %s\n" % line for line in lines) + b"\n"))["content"] == "one\u2028two"


async def test_a_stream_may_begin_with_a_byte_order_mark() -> None:
    assert (await _message(b"\xef", b"\xbb\xbf" + _data(*HELLO)))["content"] == "Hello"


@pytest.mark.parametrize("more", [[], [{"choices": [], "usage": USAGE}]])
@pytest.mark.parametrize("breaks", [False, True])
async def test_a_complete_answer_needs_no_end_marker(breaks: bool, more: list[Any]) -> None:
    chunks = [*HELLO, *more]
    read = await _read(_data(*chunks), breaks=breaks)
    assert read == _data(*({**chunk, "model": "ours"} if "model" in chunk else chunk for chunk in chunks)) + DONE


async def test_the_last_event_needs_no_empty_line() -> None:
    assert (await _read(_data(*HELLO).rstrip())).endswith(b'"finish_reason":"stop"}]}\n\n' + DONE)


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize(
    "stream",
    [b"", b": only comments\n\n", _data(*HELLO[:2]), _data(HELLO[0]) + b'data: {"cho', b'{"choices": [{', b"<html>"],
)
async def test_an_answer_that_stops_is_no_answer(stream: bytes, breaks: bool) -> None:
    with pytest.raises(ConnectionBroken):
        await _read(stream, breaks=breaks)


async def test_a_reason_to_finish_that_is_empty_is_none() -> None:
    early = _chunk({"content": "Hel"}, "")
    with pytest.raises(ConnectionBroken):
        await _read(_data(early))
    assert b'"finish_reason":null' in await _read(_data(early), _data(HELLO[-1]))


async def test_events_that_are_no_part_of_the_answer_are_left_out() -> None:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    assert await _read(ping + _data(*HELLO) + ping) == await _read(_data(*HELLO))


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "no more memory"}}\n\n',
        b'event: error\ndata: {"message": "no more memory"}\n\n',
        b"event: error\ndata: no more memory\n\n",
        b'{"error": {"message": "no more memory"}}',
    ],
)
async def test_an_error_in_an_answer_is_one(event: bytes) -> None:
    start = b"" if event.startswith(b"{") else _data(HELLO[0])
    with pytest.raises(EngineError, match="no more memory"):
        await _whole(Sent(start, event))


async def test_an_error_that_is_null_is_none() -> None:
    assert (await _message(_data(*({**chunk, "error": None} for chunk in HELLO))))["content"] == "Hello"


@pytest.mark.parametrize("data", [b"nonsense", b"[1]", b"5"])
async def test_an_event_that_is_not_json_is_an_error(data: bytes) -> None:
    with pytest.raises(EngineError, match="not JSON"):
        await _whole(Sent(_data(HELLO[0]) + b"data: %s\n\n" % data, _data(*HELLO[1:])))


@pytest.mark.parametrize(
    "choices",
    [{"0": 1}, 5, ["one"], [None], [{"delta": {"content": 5}}], [{"delta": {"tool_calls": [{"function": "get"}]}}]],
)
async def test_a_piece_without_a_known_shape_is_an_error(choices: Any) -> None:
    for answer in (_data(HELLO[0], {"choices": choices}), _data({"choices": choices})):
        with pytest.raises(EngineError, match="no shape that is known"):
            await _whole(Sent(answer))


async def test_a_message_in_the_place_of_pieces_is_the_answer_and_behind_them_is_not() -> None:
    message = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    assert (await _message(_data({"choices": [message]})))["content"] == "Hello"
    assert (await _message(_data(*HELLO[:-1], {"choices": [message]})))["content"] == "Hello"


CALLS = [
    {"id": "x", "type": "function", "function": {"name": "get", "arguments": {"a": 1}}},
    {"id": None, "function": {"name": "put", "arguments": '{"b":2}'}},
]
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "theirs",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None, "tool_calls": CALLS},
            "finish_reason": "tool_calls",
            "logprobs": None,
        }
    ],
    "usage": USAGE,
}


@pytest.mark.parametrize("size", [1, 1000])
async def test_a_whole_answer_to_a_streaming_request_is_an_answer(size: int) -> None:
    body = b"\n " + orjson.dumps(ANSWER)
    blocks = [body[at : at + size] for at in range(0, len(body), size)]
    whole = await _whole(Sent(*blocks))
    (choice,) = whole["choices"]
    assert (whole["model"], whole["object"], whole["usage"]) == ("ours", "chat.completion", USAGE)
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello", "tool_calls")
    calls = choice["message"]["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == ['{"a":1}', '{"b":2}']
    assert calls[0]["id"] == "x"
    assert calls[1]["id"].startswith("call_")
    stream = await _read(*blocks)
    assert stream.count(b'"object":"chat.completion.chunk"') == 2
    assert b'"message"' not in stream
    assert stream.endswith(DONE)


async def test_a_whole_completion_is_an_answer() -> None:
    answer = {
        **ANSWER,
        "object": "text_completion",
        "choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}],
    }
    whole = await _whole(Sent(orjson.dumps(answer)), "completions", prompt="x")
    assert (whole["choices"][0]["text"], whole["object"]) == ("Hello", "text_completion")


async def test_json_without_an_answer_is_an_error() -> None:
    with pytest.raises(EngineError, match="no choices"):
        await _whole(Sent(b'{"status": "fine"}'))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}], "Hello"),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hello"}],
            "Hello",
        ),
        (["Hello"], "Hello"),
        ([], ""),
    ],
)
@pytest.mark.parametrize("is_streamed", [True, False])
async def test_content_in_parts_is_read(content: Sequence[Any], text: str, is_streamed: bool) -> None:
    message = {"role": "assistant", "content": content}
    answer = {**ANSWER, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    read = await _message(_data(_chunk(message, "stop")) if is_streamed else orjson.dumps(answer))
    assert read["content"] == text
    assert read.get("reasoning_content") == ("Hm" if "thinking" in str(content) else None)


async def test_parallel_calls_that_are_all_number_0_are_two_calls() -> None:
    pieces = [{**call, "index": 0} for call in CALLS]
    message = await _message(_data(*(_chunk({"tool_calls": [piece]}) for piece in pieces), _chunk({}, "tool_calls")))
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["get", "put"]


async def test_a_choice_without_a_number_or_a_delta_is_the_first_and_empty() -> None:
    last = {"id": "c", "created": 1, "choices": [{"finish_reason": "stop", "delta": None}]}
    assert (await _message(_data(HELLO[0], last)))["content"] == "Hel"


async def test_the_end_marker_is_passed_on_before_the_body_ends() -> None:
    events = RemoteEvents(Sent(_data(*HELLO) + DONE, breaks=True), task="chat", model="ours")
    read = [await events.read() for _ in range(4)]
    assert read[-1] == DONE
    assert await events.read() == b""
