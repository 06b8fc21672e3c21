"""Anthropic's API: messages, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.doors.door import HttpDoor
from tests.doors.openai_doors import CITY, WHOLE
from tests.doors.talk import Ask, Failed, Outcome, Ran

PATH: Final = "/v1/messages"
ENOUGH: Final = 1000
FINISHES: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "pause_turn": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}


class AnthropicDoor(HttpDoor):
    """What its ways share."""

    def failed(self, status: int, answer: Any) -> Failed:
        assert answer["type"] == "error"
        return Failed(answer["error"]["code"], answer["error"]["message"], status)

    @staticmethod
    def _body(ask: Ask) -> dict[str, Any]:
        body: dict[str, Any] = {
            "max_tokens": ENOUGH if ask.max_tokens is None else ask.max_tokens,
            "messages": _messages(ask),
            "thinking": {"type": "adaptive"},
            "stop_sequences": list(ask.stop),
            "session_id": ask.session,
            "model": ask.model,
            "include_progress": ask.tells_waits,
        }
        if ask.tools:
            body["tools"] = [{"name": name, "input_schema": CITY} for name in ask.tools]
        if ask.has_host_tools:
            body["mcp"] = {}
        if ask.choice is not None:
            kinds = {"none": {"type": "none"}, "required": {"type": "any"}}
            body["tool_choice"] = kinds.get(ask.choice, {"type": "tool", "name": ask.choice})
        if ask.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
        return {name: value for name, value in body.items() if value not in (None, [])}


class AnthropicWhole(AnthropicDoor):
    """``POST /v1/messages``."""

    name = "messages"
    lacks = WHOLE

    async def put(self, ask: Ask, got: Outcome) -> None:
        message = await self.whole(PATH, self._body(ask))
        assert (message["type"], message["role"]) == ("message", "assistant")
        calls = Calls()
        for block in message["content"]:
            match block["type"]:
                case "text":
                    got.pieces.append(block["text"])
                case "thinking":
                    got.reasoning += block["thinking"]
                    assert block["signature"]
                case "tool_use":
                    arguments = block["input"].get("INVALID_JSON") or json.dumps(block["input"])
                    got.add_call_piece(len(got.calls), call_id=block["id"], name=block["name"], arguments=arguments)
                case _:
                    calls.add(got, block)
        _end(got, message["stop_reason"], message["usage"], message)


class AnthropicStreamed(AnthropicDoor):
    """The same as a stream."""

    name = "messages-streamed"

    async def put(self, ask: Ask, got: Outcome) -> None:
        kinds: list[str] = []
        calls = Calls()
        failed = None
        async with self.lines(PATH, {**self._body(ask), "stream": True}) as lines:
            async for line in lines:
                name, _, value = line.partition(": ")
                if name == "event":
                    assert failed is None, "something follows an error"
                    kinds.append(value)
                elif name == "data":
                    event = json.loads(value)
                    assert event["type"] == kinds[-1]
                    if event["type"] == "error":
                        failed = Failed(event["error"]["code"], event["error"]["message"])
                    else:
                        self._add(got, event, calls)
                else:
                    assert line == "", line
        if failed is not None:
            raise failed
        own = [kind for kind in kinds if "." not in kind and kind != "ping"]
        assert (own[0], own[-2], own[-1]) == ("message_start", "message_delta", "message_stop")

    def _add(self, got: Outcome, event: Mapping[str, Any], calls: Calls) -> None:
        match event["type"]:
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                block = event["content_block"]
                got.add_call_piece(len(got.calls), call_id=block["id"], name=block["name"], arguments=None)
            case "content_block_start" if event["content_block"]["type"].startswith("mcp_"):
                calls.add(got, event["content_block"])
            case "content_block_delta":
                self._add_delta(got, event["delta"])
            case "message_delta":
                _end(got, event["delta"]["stop_reason"], event["usage"], event)
            case "modelhost.queued":
                got.waits.append(str(event["position"]))
            case "modelhost.question":
                got.questions.append(event["id"])

    @staticmethod
    def _add_delta(got: Outcome, delta: Mapping[str, Any]) -> None:
        match delta["type"]:
            case "text_delta":
                got.pieces.append(delta["text"])
            case "thinking_delta":
                got.reasoning += delta["thinking"]
            case "input_json_delta":
                got.add_call_piece(len(got.calls) - 1, call_id=None, name=None, arguments=delta["partial_json"])


class Calls:
    """The host's calls: each begins with one block and ends with another."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def add(self, got: Outcome, block: Mapping[str, Any]) -> None:
        if block["type"] == "mcp_tool_use":
            assert block["server_name"] == "stub"
            self._names[block["id"]] = block["name"]
            return
        assert block["type"] == "mcp_tool_result"
        (part,) = block["content"]
        got.ran.append(Ran(name=self._names[block["tool_use_id"]], text=part["text"], is_error=block["is_error"]))


def _messages(ask: Ask) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": ask.said}]
    for call, result in ask.results:
        made = {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        given = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": result}]}
        messages += [{"role": "assistant", "content": [made]}, {"role": "user", "content": [given]}]
    return messages


def _end(got: Outcome, reason: str, usage: Mapping[str, int], of: Mapping[str, Any]) -> None:
    assert got.finish is None, "an answer ends once"
    got.finish = FINISHES[reason]
    got.detail = (of.get("modelhost.finish_details") or {}).get("type")
    inputs = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    got.usage = (sum(usage[name] for name in inputs), usage["output_tokens"])
