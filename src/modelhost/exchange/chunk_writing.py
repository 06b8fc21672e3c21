"""Chunks (:mod:`modelhost.exchange.chunks`) of events: each piece of an answer becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from modelhost.exchange.chunks import (
    CALL,
    CALL_ENDED,
    CHAT,
    FINISH_DETAILS,
    LOADING,
    LOG,
    PROGRESS,
    PROMPT_PROGRESS,
    QUESTION,
    QUEUED,
    REASONING,
    RESULT,
    TOOLS,
    WAITING,
    Chunk,
)
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


def chunk_of(piece: Piece) -> Chunk:
    """Return ``piece`` as a chunk."""
    return {**head_of(piece[0].envelope), **rest_of(piece)}


def head_of(envelope: Envelope) -> Chunk:
    """Return what all chunks of an answer begin with."""
    head: Chunk = {"object": envelope.kind}
    for name, value in (("id", envelope.id), ("created", envelope.created), ("model", envelope.model)):
        if value is not None:
            head[name] = value
    head.update(envelope.extra)
    return head


def rest_of(piece: Piece) -> Chunk:
    """Return what the chunk of ``piece`` has beside its head; never empty."""
    event = piece[0]
    is_chat = event.envelope.kind == CHAT
    if is_chat and len(piece) == 1 and event.__class__ is Text and event.extra is None:  # as nearly all are
        return {"choices": [{"index": event.choice, "finish_reason": None, "delta": {"content": event.text}}]}
    writing = _Writing(is_chat=is_chat)
    for event in piece:
        if (write := _WRITERS.get(event.__class__)) is not None:
            write(writing, event)
        if event.extra is not None:
            writing.add_extra(event, event.extra)
    writing.chunk["choices"] = list(writing.choices.values())
    return writing.chunk


class _Writing:
    """A chunk that is being written."""

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

    def tell(self, name: str, fields: Mapping[str, Any]) -> None:
        """Tell of something besides, beside an empty delta or text, which ordinary clients pass over."""
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


def _begin(writing: _Writing, event: Begin) -> None:
    choice = writing.choice(event.choice)
    if event.role is not None and writing.is_chat:
        choice["delta"]["role"] = event.role


def _call(writing: _Writing, event: ToolCallPiece) -> None:
    calls: list[Chunk] = writing.choice(event.choice)["delta"].setdefault("tool_calls", [])
    function = {
        name: value for name, value in (("name", event.name), ("arguments", event.arguments)) if value is not None
    }
    known = {"index": event.index} if event.id is None else {"index": event.index, "id": event.id}
    calls.append({**known, **event.call_extra, **({"function": function} if function else {})})


def _custom_call(writing: _Writing, event: CustomCallPiece) -> None:
    calls: list[Chunk] = writing.choice(event.choice)["delta"].setdefault("tool_calls", [])
    custom = {name: value for name, value in (("name", event.name), ("input", event.input)) if value is not None}
    known = {"index": event.index} if event.id is None else {"index": event.index, "id": event.id}
    calls.append({**known, **event.call_extra, "custom": custom})


def _finish(writing: _Writing, event: Finish) -> None:
    choice = writing.choice(event.choice)
    choice["finish_reason"] = event.reason
    if not writing.is_chat:
        choice.setdefault("text", "")
    if event.details is not None:
        writing.chunk[FINISH_DETAILS] = {"type": event.details.kind, "message": event.details.message}


def _logprobs(writing: _Writing, event: Logprobs) -> None:
    writing.choice(event.choice)["logprobs"] = event.logprobs


def _usage(writing: _Writing, event: Usage | PartialUsage) -> None:
    writing.chunk["usage"] = event.usage


def _prompt_progress(writing: _Writing, event: PromptProgress) -> None:
    writing.chunk[PROMPT_PROGRESS] = event.progress


def _started(writing: _Writing, event: CallStarted) -> None:
    writing.tell(CALL, {"id": event.id, "name": event.name, "arguments": event.arguments})


def _progressed(writing: _Writing, event: CallProgressed) -> None:
    writing.tell(PROGRESS, {"id": event.id, "progress": event.progress, "total": event.total, "message": event.message})


def _logged(writing: _Writing, event: CallLogged) -> None:
    writing.tell(LOG, event.line)


def _finished(writing: _Writing, event: CallFinished) -> None:
    writing.tell(RESULT, result_fields(event))


def _cancelled(writing: _Writing, event: CallCancelled) -> None:
    writing.tell(CALL_ENDED, {"id": event.id, "name": event.name})


def _question(writing: _Writing, event: Question) -> None:
    writing.tell(QUESTION, {"id": event.id, "kind": event.kind, "seconds": event.seconds, **event.about})


def _queued(writing: _Writing, event: Queued) -> None:
    writing.tell(QUEUED, {"position": event.position})


def _loading(writing: _Writing, event: Loading) -> None:
    writing.tell(LOADING, {} if event.progress is None else {"progress": event.progress})


def _waiting(writing: _Writing, event: WaitingForTools) -> None:
    writing.tell(WAITING, {"servers": list(event.servers), "seconds": event.seconds})


def _missing(writing: _Writing, event: ToolsMissing) -> None:
    writing.tell(TOOLS, missing_fields(event))


def result_fields(event: CallFinished) -> dict[str, Any]:
    """Return what is told of a call that is over."""
    return {
        "id": event.id,
        "name": event.name,
        "server": event.server,
        "tool": event.tool,
        "is_error": event.is_error,
        "code": event.code,
        "text": event.text,
        "seconds": event.seconds,
    }


def missing_fields(event: ToolsMissing) -> dict[str, Any]:
    """Return what is told of servers that are missing."""
    return {"missing": [{"server": server, "state": state} for server, state in event.servers]}


_WRITERS: Final[Mapping[type[Event], Callable[[_Writing, Any], None]]] = {
    Begin: _begin,
    Text: lambda writing, event: writing.add(event.choice, "content", event.text),
    Reasoning: lambda writing, event: writing.add(event.choice, REASONING, event.text),
    Refusal: lambda writing, event: writing.add(event.choice, "refusal", event.text),
    Logprobs: _logprobs,
    ToolCallPiece: _call,
    CustomCallPiece: _custom_call,
    Finish: _finish,
    Usage: _usage,
    PartialUsage: _usage,
    PromptProgress: _prompt_progress,
    CallStarted: _started,
    CallProgressed: _progressed,
    CallLogged: _logged,
    CallFinished: _finished,
    CallCancelled: _cancelled,
    Question: _question,
    Queued: _queued,
    Loading: _loading,
    WaitingForTools: _waiting,
    ToolsMissing: _missing,
}
