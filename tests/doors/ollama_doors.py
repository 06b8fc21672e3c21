"""Ollama's API: chats and single prompts, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from tests.doors.door import HttpDoor, Lacks
from tests.doors.openai_doors import CITY, WHOLE
from tests.doors.talk import Ask, Failed, Outcome, Ran

CHAT: Final = "/api/chat"
GENERATE: Final = "/api/generate"
LOWEST: Final = -3
"""A limit that cannot be: -1 and -2 mean that there is none."""
FINISHES: Final = {"stop": "stop", "length": "length"}
NO_CONVERSATION: Final[Lacks] = {
    "sessions": "a prompt is no conversation",
    "tools": "a prompt brings no tools",
    "host tools": "a prompt is given no tools",
    "host calls": "a prompt is given no tools",
    "questions": "a prompt is given no tools",
}


class OllamaDoor(HttpDoor):
    """What its ways share."""

    refused_limit = (LOWEST, "num_predict")
    takes_same_names = True  # as Ollama does

    def failed(self, status: int, answer: Any) -> Failed:
        return Failed(answer["code"], answer["error"], status)

    @staticmethod
    def _fields(ask: Ask) -> dict[str, Any]:
        options = {"num_predict": ask.max_tokens, "stop": list(ask.stop)}
        fields: dict[str, Any] = {
            "options": {name: value for name, value in options.items() if value not in (None, [])},
            "model": ask.model,
            "format": ask.schema,
            "include_progress": ask.tells_waits,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _chat(self, ask: Ask) -> dict[str, Any]:
        body = {**self._fields(ask), "messages": _messages(ask)}
        if ask.session is not None:
            body["session_id"] = ask.session
        if ask.tools:
            body["tools"] = [{"type": "function", "function": {"name": name, "parameters": CITY}} for name in ask.tools]
        if ask.has_host_tools:
            body["mcp"] = {}
        if ask.choice is not None:
            named = {"type": "function", "function": {"name": ask.choice}}
            body["tool_choice"] = ask.choice if ask.choice in {"none", "required"} else named
        return body

    def _prompt(self, ask: Ask) -> dict[str, Any]:
        return {**self._fields(ask), "prompt": ask.said}

    async def _read(self, path: str, body: Mapping[str, Any], got: Outcome) -> None:
        """Read a stream."""
        names: dict[str, str] = {}
        last: dict[str, Any] = {}
        async with self.lines(path, body) as lines:
            async for line in lines:
                assert not last.get("done"), "something follows the end"
                last = json.loads(line)
                if "error" in last:
                    raise Failed(last["code"], last["error"])
                _add(got, last, names)
        assert last["done"] is True

    async def _get(self, path: str, body: Mapping[str, Any], got: Outcome) -> None:
        """Read a whole answer."""
        answer = await self.whole(path, {**body, "stream": False})
        assert answer["done"] is True
        for call in answer.pop("modelhost.tool_calls", ()):
            got.ran.append(Ran(name=call["name"], text=call["text"], is_error=call["is_error"]))
        _add(got, answer, {})


class OllamaChatWhole(OllamaDoor):
    """``POST /api/chat`` with ``"stream": false``."""

    name = "ollama-chat"
    lacks = WHOLE

    async def put(self, ask: Ask, got: Outcome) -> None:
        await self._get(CHAT, self._chat(ask), got)


class OllamaChatStreamed(OllamaDoor):
    """The same as a stream."""

    name = "ollama-chat-streamed"

    async def put(self, ask: Ask, got: Outcome) -> None:
        await self._read(CHAT, self._chat(ask), got)


class OllamaGenerateWhole(OllamaDoor):
    """``POST /api/generate`` with ``"stream": false``."""

    name = "ollama-generate"
    lacks: ClassVar[Lacks] = {**WHOLE, **NO_CONVERSATION}

    async def put(self, ask: Ask, got: Outcome) -> None:
        await self._get(GENERATE, self._prompt(ask), got)


class OllamaGenerateStreamed(OllamaDoor):
    """The same as a stream."""

    name = "ollama-generate-streamed"
    lacks = NO_CONVERSATION

    async def put(self, ask: Ask, got: Outcome) -> None:
        await self._read(GENERATE, self._prompt(ask), got)


def _add(got: Outcome, line: Mapping[str, Any], names: dict[str, str]) -> None:
    message = line.get("message", line)
    if text := message.get("content") or message.get("response"):
        got.pieces.append(text)
    got.reasoning += message.get("thinking", "")
    for call in message.get("tool_calls", ()):
        function = call["function"]
        arguments = function["arguments"].get("INVALID_JSON") or json.dumps(function["arguments"])
        got.add_call_piece(function["index"], call_id=call["id"], name=function["name"], arguments=arguments)
    if (queued := line.get("modelhost.queued")) is not None:
        got.waits.append(str(queued["position"]))
    if (question := line.get("modelhost.question")) is not None:
        got.questions.append(question["id"])
    if (call := line.get("modelhost.tool_call")) is not None:
        names[call["id"]] = call["name"]
    if (result := line.get("modelhost.tool_result")) is not None:
        got.ran.append(Ran(name=names[result["id"]], text=result["text"], is_error=result["is_error"]))
    if line["done"]:
        # Ollama has no reason of its own for calls.
        got.finish = "tool_calls" if got.calls and line["done_reason"] == "stop" else FINISHES[line["done_reason"]]
        got.detail = (line.get("modelhost.finish_details") or {}).get("type")
        got.usage = (line["prompt_eval_count"], line["eval_count"])


def _messages(ask: Ask) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": ask.said}]
    for call, result in ask.results:
        made = {"id": call.id, "function": {"name": call.name, "arguments": json.loads(call.arguments)}}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [made]},
            {"role": "tool", "tool_call_id": call.id, "tool_name": call.name, "content": result},
        ]
    return messages
