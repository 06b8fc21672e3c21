"""OpenAI's API: chats and completions, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.doors.door import HttpDoor, Lacks, Refused
from tests.doors.talk import Ask, Failed, Outcome, Ran

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DONE = "[DONE]"
WHOLE: Lacks = {
    "pieces": "the answer comes at once",
    "leaving between pieces": "the answer comes at once",
    "questions": "nobody reads a question before the answer",
    "waits": "nobody reads anything before the answer",
}


def fields_of(ask: Ask) -> dict[str, Any]:
    """Return what chats and completions share."""
    stop = ask.stop[0] if len(ask.stop) == 1 else list(ask.stop)
    fields = {"max_tokens": ask.max_tokens, "stop": stop, "model": ask.model, "session_id": ask.session}
    return {name: value for name, value in fields.items() if value not in (None, [])}


def chat_fields_of(ask: Ask) -> dict[str, Any]:
    """Return the fields of a chat besides its messages."""
    fields = fields_of(ask)
    if ask.tools:
        fields["tools"] = [{"type": "function", "function": {"name": name, "parameters": CITY}} for name in ask.tools]
    if ask.has_host_tools:
        fields["mcp"] = {}
    if ask.choice in ("none", "required"):
        fields["tool_choice"] = ask.choice
    elif ask.choice is not None:
        fields["tool_choice"] = {"type": "function", "function": {"name": ask.choice}}
    if ask.schema is not None:
        fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "s", "schema": ask.schema}}
    return fields


def stream_options_of(ask: Ask) -> dict[str, Any]:
    """Return what a stream is to tell besides."""
    return {"include_usage": True, **({"include_progress": True} if ask.tells_waits else {})}


def messages_of(ask: Ask) -> list[dict[str, Any]]:
    """Return the conversation."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": ask.said}]
    for call, result in ask.results:
        made = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [made]})
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return messages


def add_whole(got: Outcome, answer: Mapping[str, Any]) -> None:
    """Add a chat completion."""
    (choice,) = answer["choices"]
    message = choice["message"]
    if message.get("content"):
        got.pieces.append(message["content"])
    got.reasoning = message.get("reasoning_content") or ""
    for index, call in enumerate(message.get("tool_calls") or ()):
        assert (call["type"], message["content"]) == ("function", None)
        got.add_call_piece(index, call_id=call["id"], **call["function"])
    got.ran += [_ran(call) for call in answer.get("modelhost.tool_calls", ())]
    _add_end(got, choice["finish_reason"], answer)


def add_chunk(got: Outcome, chunk: Mapping[str, Any]) -> None:
    """Add a chunk of a chat completion."""
    for choice in chunk["choices"]:
        delta = choice["delta"]
        if delta.get("content"):
            got.pieces.append(delta["content"])
        got.reasoning += delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls") or ():
            called = call.get("function", {})
            got.add_call_piece(
                call["index"], call_id=call.get("id"), name=called.get("name"), arguments=called.get("arguments")
            )
    if waiting := chunk.get("modelhost.queued"):
        got.waits.append(str(waiting["position"]))
    if question := chunk.get("modelhost.question"):
        got.questions.append(question["id"])
    if result := chunk.get("modelhost.tool_result"):
        got.ran.append(_ran(result))
    _add_end(got, next((choice["finish_reason"] for choice in chunk["choices"]), None), chunk)


def _ran(call: Mapping[str, Any]) -> Ran:
    return Ran(name=call["name"], text=call["text"], is_error=call["is_error"])


def _add_end(got: Outcome, reason: str | None, of: Mapping[str, Any]) -> None:
    if reason is not None:
        assert got.finish is None, "an answer ends once"
        got.finish = reason
    if details := of.get("modelhost.finish_details"):
        got.detail = details["type"]
    if usage := of.get("usage"):
        got.usage = (usage["prompt_tokens"], usage["completion_tokens"])


class OpenAIDoor(HttpDoor):
    """What its endpoints share."""

    path: ClassVar[str]

    def failed(self, status: int, answer: Any) -> Failed:
        return Failed(answer["error"]["code"], answer["error"]["message"], status)

    async def _put_streamed(self, ask: Ask, body: Mapping[str, Any], got: Outcome, add: Any) -> None:
        options = {"stream": True, "stream_options": stream_options_of(ask)}
        last, failed = "", None
        async with self.lines(self.path, {**body, **options}) as lines:
            async for line in lines:
                assert line == "" or line.startswith(("data: ", ":")), line
                if not line.startswith("data: "):
                    continue
                assert failed is None, "something follows an error"
                last = line.removeprefix("data: ")
                chunk = {} if last == DONE else json.loads(last)
                if "error" in chunk:
                    failed = Failed(chunk["error"]["code"], chunk["error"]["message"])
                elif chunk:
                    add(got, chunk)
        if failed is not None:
            raise failed
        assert last == DONE, "the stream has no end"


class ChatWhole(OpenAIDoor):
    """``POST /v1/chat/completions``."""

    name = "chat"
    path = "/v1/chat/completions"
    lacks = WHOLE

    async def put(self, ask: Ask, got: Outcome) -> None:
        add_whole(got, await self.whole(self.path, {"messages": messages_of(ask), **chat_fields_of(ask)}))


class ChatRelayed(OpenAIDoor):
    """The same as a stream, in which an engine's bytes go through."""

    name = "chat-relayed"
    path = ChatWhole.path

    async def put(self, ask: Ask, got: Outcome) -> None:
        await self._put_streamed(ask, {"messages": messages_of(ask), **chat_fields_of(ask)}, got, add_chunk)


class ChatEvents(ChatRelayed):
    """The same of events, as where something of an answer is looked at or changed."""

    name = "chat-events"
    relays = False


COMPLETIONS: Lacks = {
    "reasoning": "a completion is one text",
    "sessions": Refused("unsupported_parameter", "session_id"),
    "tools": Refused("unsupported_parameter", "tools"),
    "host tools": "they are for chats",
    "host calls": "they are for chats",
    "questions": "nothing asks",
}


class CompletionsStreamed(OpenAIDoor):
    """``POST /v1/completions`` as a stream."""

    name = "completions-streamed"
    path = "/v1/completions"
    lacks = COMPLETIONS

    async def put(self, ask: Ask, got: Outcome) -> None:
        await self._put_streamed(ask, self._body(ask), got, self._add_completion)

    @staticmethod
    def _body(ask: Ask) -> dict[str, Any]:
        fields = fields_of(ask)
        if ask.schema is not None:
            fields["json_schema"] = ask.schema
        if ask.tools:
            fields["tools"] = chat_fields_of(ask)["tools"]
        return {"prompt": ask.said, **fields}

    @staticmethod
    def _add_completion(got: Outcome, answer: Mapping[str, Any]) -> None:
        assert answer["object"] == "text_completion"
        if waiting := answer.get("modelhost.queued"):
            got.waits.append(str(waiting["position"]))
        for choice in answer["choices"]:
            got.pieces += [choice["text"]] if choice["text"] else []
        _add_end(got, next((choice["finish_reason"] for choice in answer["choices"]), None), answer)


class CompletionsWhole(CompletionsStreamed):
    """The same at once."""

    name = "completions"
    lacks: ClassVar[Lacks] = {**COMPLETIONS, **WHOLE}

    async def put(self, ask: Ask, got: Outcome) -> None:
        self._add_completion(got, await self.whole(self.path, self._body(ask)))
