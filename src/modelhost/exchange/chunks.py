"""OpenAI's chunks, as engines write them and clients read them, with the host's extensions.

A chunk becomes one piece of an answer, and a piece one chunk. A chunk that is read and written again has the same
fields, in another order. Format: https://platform.openai.com/docs/api-reference/chat/streaming, and for completions
.../completions/object.

Events of the host are extension fields of chunks with an empty delta:

* ``modelhost.tool_call``: a call begins: ``id, name, arguments``;
* ``modelhost.tool_progress``: its progress: ``id, progress, total, message``;
* ``modelhost.tool_log``: a log line of the server during a call: ``server, level, logger, data``;
* ``modelhost.tool_result``: it has finished: ``id, name, server, tool, is_error, code, text, seconds``;
* ``modelhost.tool_cancelled``: the host cancelled it: ``id, name``;
* ``modelhost.question``: an approval or an elicitation: ``id, kind, seconds`` and its subject;
* ``modelhost.finish_details``, on the last piece: why the host ended the loop (``type``, ``message``);
* ``modelhost.queued``, before the answer: the request is queued: ``position``, from 1;
* ``modelhost.loading``, likewise: its model is being loaded: ``progress``, 0 to 1, if its engine reports it;
* ``modelhost.waiting_for_tools``, first of all: the request waits for MCP servers: ``servers, seconds``;
* ``modelhost.tools``, on the first piece: servers whose tools are missing (``missing``: ``server, state`` of each).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from modelhost.exchange.events import (
    Begin,
    CallCancelled,
    CallFinished,
    CallLogged,
    CallProgressed,
    CallStarted,
    CustomCallPiece,
    Envelope,
    Event,
    Extra,
    Finish,
    HostEvent,
    Loading,
    Logprobs,
    PartialUsage,
    Piece,
    PromptProgress,
    Question,
    Queued,
    Reasoning,
    Refusal,
    Text,
    ToolCallPiece,
    ToolsMissing,
    Usage,
    WaitingForTools,
)

Chunk = dict[str, Any]

CALL: Final = "modelhost.tool_call"
RESULT: Final = "modelhost.tool_result"
QUESTION: Final = "modelhost.question"
TOOLS: Final = "modelhost.tools"
HOST_EVENTS: Final[Mapping[str, type[HostEvent]]] = {
    CALL: CallStarted,
    "modelhost.tool_progress": CallProgressed,
    "modelhost.tool_log": CallLogged,
    RESULT: CallFinished,
    "modelhost.tool_cancelled": CallCancelled,
    QUESTION: Question,
    "modelhost.queued": Queued,
    "modelhost.loading": Loading,
    "modelhost.waiting_for_tools": WaitingForTools,
    TOOLS: ToolsMissing,
}
FINISH_DETAILS: Final = "modelhost.finish_details"
PROMPT_PROGRESS: Final = "prompt_progress"

COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
MAX_PIECES: Final = 4096
"""Limit of the index of a call or a choice; lower ones are allocated too."""
CHAT: Final = "chat.completion.chunk"
COMPLETION: Final = "text_completion"
ENVELOPE_FIELDS: Final = frozenset({"id", "created", "model", "object", "system_fingerprint", "service_tier"})
REASONING: Final = "reasoning_content"
TEXTS: Final[Mapping[str, type[Text | Reasoning | Refusal]]] = {
    "content": Text,
    REASONING: Reasoning,
    "refusal": Refusal,
}


def chunk_of(piece: Piece) -> Chunk:
    return {**head_of(piece[0].envelope), **rest_of(piece)}


def head_of(envelope: Envelope) -> Chunk:
    """Return the fields that all chunks of an answer share."""
    head: Chunk = {"object": envelope.kind}
    for name, value in (("id", envelope.id), ("created", envelope.created), ("model", envelope.model)):
        if value is not None:
            head[name] = value
    head.update(envelope.extra)
    return head


def rest_of(piece: Piece) -> Chunk:
    """Return the fields of the chunk of ``piece`` besides its head; never empty."""
    event = piece[0]
    is_chat = event.envelope.kind == CHAT
    if is_chat and len(piece) == 1 and event.__class__ is Text and event.extra is None:  # as nearly all are
        return {"choices": [{"index": event.choice, "finish_reason": None, "delta": {"content": event.text}}]}
    writer = _ChunkWriter(is_chat=is_chat)
    for event in piece:
        if (write := _WRITERS.get(event.__class__)) is not None:
            write(writer, event)
        if event.extra is not None:
            writer.add_extra(event, event.extra)
    writer.chunk["choices"] = list(writer.choices.values())
    return writer.chunk


class _ChunkWriter:
    """Assembles one chunk."""

    __slots__ = ("choices", "chunk", "is_chat")

    def __init__(self, *, is_chat: bool) -> None:
        self.chunk: Chunk = {}
        self.is_chat = is_chat
        self.choices: dict[int, Chunk] = {}

    def choice(self, index: int) -> Chunk:
        found = self.choices.get(index)
        if found is None:
            found = self.choices[index] = {"index": index, "finish_reason": None}
            if self.is_chat:
                found["delta"] = {}
        return found

    def add(self, index: int, name: str, text: str) -> None:
        """Add a text to the delta of a choice."""
        if not self.is_chat:
            choice = self.choice(index)
            choice["text"] = choice.get("text", "") + text
            return
        delta = self.choice(index)["delta"]
        delta[name] = delta.get(name, "") + text

    def add_extension(self, name: str, fields: Mapping[str, Any]) -> None:
        """Add an extension field, with an empty delta or text, which other clients ignore."""
        choice = self.choice(0)
        if not self.is_chat:
            choice.setdefault("text", "")
        self.chunk[name] = fields

    def add_extra(self, event: Event, extra: Extra) -> None:
        self.chunk.update(extra.chunk)
        if extra.choice or extra.delta:
            choice = self.choice(getattr(event, "choice", 0))
            choice.update(extra.choice)
            if extra.delta:
                choice.setdefault("delta", {}).update(extra.delta)


def _begin(writer: _ChunkWriter, event: Begin) -> None:
    choice = writer.choice(event.choice)
    if event.role is not None and writer.is_chat:
        choice["delta"]["role"] = event.role


def _call(writer: _ChunkWriter, event: ToolCallPiece) -> None:
    calls: list[Chunk] = writer.choice(event.choice)["delta"].setdefault("tool_calls", [])
    function = {
        name: value for name, value in (("name", event.name), ("arguments", event.arguments)) if value is not None
    }
    known = {"index": event.index} if event.id is None else {"index": event.index, "id": event.id}
    calls.append({**known, **event.call_extra, **({"function": function} if function else {})})


def _custom_call(writer: _ChunkWriter, event: CustomCallPiece) -> None:
    calls: list[Chunk] = writer.choice(event.choice)["delta"].setdefault("tool_calls", [])
    custom = {name: value for name, value in (("name", event.name), ("input", event.input)) if value is not None}
    known = {"index": event.index} if event.id is None else {"index": event.index, "id": event.id}
    calls.append({**known, **event.call_extra, "custom": custom})


def _finish(writer: _ChunkWriter, event: Finish) -> None:
    choice = writer.choice(event.choice)
    choice["finish_reason"] = event.reason
    if not writer.is_chat:
        choice.setdefault("text", "")
    if event.details is not None:
        writer.chunk[FINISH_DETAILS] = {"type": event.details.kind, "message": event.details.message}


def _logprobs(writer: _ChunkWriter, event: Logprobs) -> None:
    writer.choice(event.choice)["logprobs"] = event.logprobs


def _usage(writer: _ChunkWriter, event: Usage | PartialUsage) -> None:
    writer.chunk["usage"] = event.usage


def _prompt_progress(writer: _ChunkWriter, event: PromptProgress) -> None:
    writer.chunk[PROMPT_PROGRESS] = event.progress


_EXTENSIONS: Final = {kind: name for name, kind in HOST_EVENTS.items()}


def _host_event(writer: _ChunkWriter, event: HostEvent) -> None:
    writer.add_extension(_EXTENSIONS[event.__class__], extension_fields(event))


def extension_fields(event: HostEvent) -> Mapping[str, Any]:
    match event:
        case CallLogged():
            return event.line
        case Question():
            return {"id": event.id, "kind": event.kind, "seconds": event.seconds, **event.about}
        case Loading(progress=None):
            return {}
        case WaitingForTools():
            return {"servers": list(event.servers), "seconds": event.seconds}
        case ToolsMissing():
            return {"missing": [{"server": server, "state": state} for server, state in event.servers]}
    shown = set(event.__struct_fields__) - set(Event.__struct_fields__)
    if isinstance(event, CallStarted):
        shown = {"id", "name", "arguments"}
    return {name: getattr(event, name) for name in event.__struct_fields__ if name in shown}


_WRITERS: Final[Mapping[type[Event], Callable[[_ChunkWriter, Any], None]]] = {
    Begin: _begin,
    Text: lambda writer, event: writer.add(event.choice, "content", event.text),
    Reasoning: lambda writer, event: writer.add(event.choice, REASONING, event.text),
    Refusal: lambda writer, event: writer.add(event.choice, "refusal", event.text),
    Logprobs: _logprobs,
    ToolCallPiece: _call,
    CustomCallPiece: _custom_call,
    Finish: _finish,
    Usage: _usage,
    PartialUsage: _usage,
    PromptProgress: _prompt_progress,
    **dict.fromkeys(HOST_EVENTS.values(), _host_event),
}
