"""OpenAI's Responses API: whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.doors.door import HttpDoor
from tests.doors.openai_doors import CITY, DONE, WHOLE
from tests.doors.talk import Ask, Failed, Outcome, Ran

PATH: Final = "/v1/responses"
TERMINAL: Final = ("response.completed", "response.incomplete", "response.failed")


class ResponsesDoor(HttpDoor):
    """What its ways share."""

    refused_limit = (-1, "max_output_tokens")

    def failed(self, status: int, answer: Any) -> Failed:
        return Failed(answer["error"]["code"], answer["error"]["message"], status)

    @staticmethod
    def body(ask: Ask) -> dict[str, Any]:
        stop = ask.stop[0] if len(ask.stop) == 1 else list(ask.stop)
        body: dict[str, Any] = {
            "input": _items(ask),
            "max_output_tokens": ask.max_tokens,
            "stop": stop,
            "session_id": ask.session,
            "model": ask.model,
            "store": False,
        }
        if ask.tells_waits:
            body["stream_options"] = {"include_progress": True}
        if ask.tools:
            body["tools"] = [{"type": "function", "name": name, "parameters": CITY} for name in ask.tools]
        if ask.has_host_tools:
            body["mcp"] = {}
        if ask.choice in ("none", "required"):
            body["tool_choice"] = ask.choice
        elif ask.choice is not None:
            body["tool_choice"] = {"type": "function", "name": ask.choice}
        if ask.schema is not None:
            body["text"] = {"format": {"type": "json_schema", "name": "s", "schema": ask.schema}}
        return {name: value for name, value in body.items() if value not in (None, [])}


class ResponsesWhole(ResponsesDoor):
    """``POST /v1/responses``."""

    name = "responses"
    lacks = WHOLE

    async def put(self, ask: Ask, got: Outcome) -> None:
        response = await self.whole(PATH, self.body(ask))
        assert response["object"] == "response"
        for item in response["output"]:
            match item["type"]:
                case "message":
                    got.pieces += [part["text"] for part in item["content"]]
                case "reasoning":
                    got.reasoning += "".join(part["text"] for part in item["content"])
                case "function_call":
                    _add_call(got, item)
                    _add_arguments(got, item["arguments"])
                case "mcp_call":
                    _add_host_call(got, item)
        _end(got, response)


class ResponsesStreamed(ResponsesDoor):
    """The same as a stream."""

    name = "responses-streamed"

    async def put(self, ask: Ask, got: Outcome) -> None:
        told = Told()
        kind = ""
        async with self.lines(PATH, {**self.body(ask), "stream": True}) as lines:
            async for line in lines:
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and value == DONE:
                    told.check_end()
                elif name == "data":
                    event = json.loads(value)
                    assert event["type"] == kind
                    if event["type"] == "error":
                        raise Failed(event["code"], event["message"])
                    told.add(event)
                    self.add(got, event)
                else:
                    assert line == "", line
        if (error := told.last["response"]["error"]) is not None:
            raise Failed(error["code"], error["message"])

    @staticmethod
    def add(got: Outcome, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "response.output_text.delta":
                got.pieces.append(event["delta"])
            case "response.reasoning_text.delta":
                got.reasoning += event["delta"]
            case "response.output_item.added" if event["item"]["type"] == "function_call":
                _add_call(got, event["item"])
            case "response.function_call_arguments.delta":
                _add_arguments(got, event["delta"])
            case "response.output_item.done" if event["item"]["type"] == "mcp_call":
                _add_host_call(got, event["item"])
            case "response.completed" | "response.incomplete":
                _end(got, event["response"])
            case "keepalive" if "modelhost.queued" in event:
                got.waits.append(str(event["modelhost.queued"]["position"]))
            case "keepalive" if "modelhost.question" in event:
                got.questions.append(event["modelhost.question"]["id"])


class Told:
    """The events of one stream, held against what all streams have to be."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._done: dict[int, dict[str, Any]] = {}
        self._added: list[int] = []

    @property
    def last(self) -> dict[str, Any]:
        return self._events[-1]

    @property
    def is_over(self) -> bool:
        return bool(self._events) and self.last["type"] in TERMINAL

    def add(self, event: dict[str, Any]) -> None:
        assert event["sequence_number"] == len(self._events)
        assert (event["type"] == "response.created") == (not self._events)
        assert not self._events or self.last["type"] not in TERMINAL, "something follows the end"
        self._events.append(event)
        match event["type"]:
            case "response.output_item.added":
                self._added.append(event["output_index"])
            case "response.output_item.done":
                assert event["output_index"] not in self._done
                self._done[event["output_index"]] = event["item"]

    def check_end(self) -> None:
        """Check that there was one end, and that it tells of the items as they were told of."""
        assert self.last["type"] in TERMINAL
        assert self._added == list(range(len(self._added)))
        response = self.last["response"]
        assert response["id"] == self._events[0]["response"]["id"]
        output = response["output"]
        assert len(output) == len(self._added)
        assert all(output[index] == item for index, item in self._done.items())
        if self.last["type"] != "response.failed":
            assert len(self._done) == len(output)


def _items(ask: Ask) -> str | list[dict[str, Any]]:
    if not ask.results:
        return ask.said
    items: list[dict[str, Any]] = [{"role": "user", "content": ask.said}]
    for call, result in ask.results:
        made = {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
        items += [made, {"type": "function_call_output", "call_id": call.id, "output": result}]
    return items


def _add_call(got: Outcome, item: Mapping[str, Any]) -> None:
    got.add_call_piece(len(got.calls), call_id=item["call_id"], name=item["name"], arguments=None)


def _add_arguments(got: Outcome, arguments: str) -> None:
    got.add_call_piece(len(got.calls) - 1, call_id=None, name=None, arguments=arguments)


def _add_host_call(got: Outcome, item: Mapping[str, Any]) -> None:
    assert item["server_label"] == "stub"
    is_error = item["error"] is not None
    assert item["status"] == ("failed" if is_error else "completed")
    text = item["error"]["content"][0]["text"] if is_error else item["output"]
    got.ran.append(Ran(name=f"stub_{item['name']}", text=text, is_error=is_error))


def _end(got: Outcome, response: Mapping[str, Any]) -> None:
    assert got.finish is None, "an answer ends once"
    details = response["incomplete_details"]
    assert (response["status"] == "incomplete") == (details is not None)
    is_call = any(item["type"] == "function_call" for item in response["output"])
    got.finish = "length" if details is not None else "tool_calls" if is_call else "stop"
    got.detail = (response.get("modelhost.finish_details") or {}).get("type")
    usage = response["usage"]
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"]
    assert usage["input_tokens_details"]["cached_tokens"] >= 0
    assert usage["output_tokens_details"]["reasoning_tokens"] >= 0
    got.usage = (usage["input_tokens"], usage["output_tokens"])
