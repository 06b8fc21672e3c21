"""A complete answer, assembled from its pieces; used by all doors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelhost.exchange.chunks import FINISH_DETAILS, REASONING, TOOLS, extension_fields
from modelhost.exchange.events import (
    NO_ENVELOPE,
    Begin,
    CallFinished,
    CallStarted,
    CustomCallPiece,
    Envelope,
    Event,
    Extra,
    Finish,
    FinishDetails,
    Logprobs,
    Piece,
    Reasoning,
    Refusal,
    Text,
    ToolCallPiece,
    ToolsMissing,
    Usage,
)
from modelhost.exchange.messages import Message, ToolCall

OBJECTS: Final[Mapping[str, str]] = {"chat.completion.chunk": "chat.completion", "text_completion": "text_completion"}
"""The ``object`` of a complete answer, by that of its chunks."""
TOOL_CALLS: Final = "modelhost.tool_calls"


@dataclass(slots=True)
class WrittenCall:
    """A call as far as it is written; ``arguments`` is JSON text."""

    id: str | None = None
    name: str = ""
    arguments: str = ""
    input: str | None = None
    """The input of a custom tool, which has no arguments."""


@dataclass(slots=True)
class Choice:
    """One of the answer's choices so far."""

    role: str = "assistant"
    text: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    calls: list[WrittenCall] = field(default_factory=list)
    logprobs: dict[str, list[Any]] | None = None
    finish_reason: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Unknown fields of the message."""

    @property
    def message(self) -> Message:
        """The choice as a message of the conversation."""
        calls = tuple(
            ToolCall(id=call.id, name=call.name, arguments=call.arguments, input=call.input) for call in self.calls
        )
        return Message(role="assistant", content=self.text or (None if calls else ""), tool_calls=calls or None)


class WholeAnswer:
    """Collects the pieces of one answer."""

    def __init__(self) -> None:
        self.envelope: Envelope = NO_ENVELOPE
        self.choices: dict[int, Choice] = {}
        self.usage: Mapping[str, Any] | None = None
        self.finish_details: FinishDetails | None = None
        self.host_calls: dict[str, dict[str, Any]] = {}
        """The calls that the host made, with their results, by their ids."""
        self.missing: ToolsMissing | None = None
        self._extra: dict[str, Any] = {}

    def add(self, piece: Piece) -> None:
        for event in piece:
            if event.envelope is not self.envelope:
                self._add_envelope(event.envelope)
            if (take := _TAKERS.get(event.__class__)) is not None:
                take(self, event)
            if event.extra is not None:
                self._add_extra(event, event.extra)

    @property
    def finished(self) -> int:
        """How many choices are complete."""
        return sum(1 for choice in self.choices.values() if choice.finish_reason is not None)

    def choice(self, index: int = 0) -> Choice:
        """Return a choice, empty if it has no pieces yet."""
        return self.choices.setdefault(index, Choice())

    def json(self) -> dict[str, Any]:
        """Return the answer as an object of OpenAI's API."""
        is_chat = self.envelope.kind != "text_completion"
        written: dict[str, Any] = {
            "id": self.envelope.id,
            "object": OBJECTS.get(self.envelope.kind, self.envelope.kind),
            "created": self.envelope.created,
            "model": self.envelope.model,
            **{name: value for name, value in self.envelope.extra.items() if value is not None},
            **self._extra,
            "choices": [_choice_json(index, choice, is_chat) for index, choice in sorted(self.choices.items())],
            "usage": self.usage,
        }
        if self.host_calls:
            written[TOOL_CALLS] = list(self.host_calls.values())
        if self.finish_details is not None:
            written[FINISH_DETAILS] = {"type": self.finish_details.kind, "message": self.finish_details.message}
        if self.missing is not None:
            written[TOOLS] = extension_fields(self.missing)
        return written

    def _add_envelope(self, envelope: Envelope) -> None:
        if envelope.id is not None or self.envelope is NO_ENVELOPE:
            self.envelope = envelope

    def _add_extra(self, event: Event, extra: Extra) -> None:
        self._extra.update({name: value for name, value in extra.chunk.items() if value is not None})
        if not extra.delta:
            return
        known = self.choice(getattr(event, "choice", 0)).extra
        for name, value in extra.delta.items():
            if value is not None:
                known[name] = known.get(name, "") + value if isinstance(value, str) else value


def _choice_json(index: int, choice: Choice, is_chat: bool) -> dict[str, Any]:
    written: dict[str, Any] = {"index": index, "finish_reason": choice.finish_reason, "logprobs": choice.logprobs}
    if not is_chat:
        return {**written, "text": choice.text or ""}
    message: dict[str, Any] = {"role": choice.role, "content": choice.text}
    if choice.text is None and not choice.calls and "audio" not in choice.extra:
        message["content"] = ""
    besides = {REASONING: choice.reasoning, "refusal": choice.refusal}
    message.update({name: text for name, text in besides.items() if text is not None})
    if choice.calls:
        message["tool_calls"] = [_call_json(call) for call in choice.calls]
    return {**written, "message": {**message, **choice.extra}}


def _call_json(call: WrittenCall) -> dict[str, Any]:
    if call.input is not None:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.input}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _begin(whole: WholeAnswer, event: Begin) -> None:
    choice = whole.choice(event.choice)
    if event.role is not None:
        choice.role = event.role


def _text(whole: WholeAnswer, event: Text) -> None:
    choice = whole.choice(event.choice)
    choice.text = (choice.text or "") + event.text


def _reasoning(whole: WholeAnswer, event: Reasoning) -> None:
    choice = whole.choice(event.choice)
    choice.reasoning = (choice.reasoning or "") + event.text


def _refusal(whole: WholeAnswer, event: Refusal) -> None:
    choice = whole.choice(event.choice)
    choice.refusal = (choice.refusal or "") + event.text


def _call(whole: WholeAnswer, event: ToolCallPiece) -> None:
    call = _begun(whole, event)
    call.arguments += event.arguments or ""


def _custom_call(whole: WholeAnswer, event: CustomCallPiece) -> None:
    call = _begun(whole, event)
    call.input = (call.input or "") + (event.input or "")


def _begun(whole: WholeAnswer, event: ToolCallPiece | CustomCallPiece) -> WrittenCall:
    calls = whole.choice(event.choice).calls
    while len(calls) <= event.index:
        calls.append(WrittenCall())
    call = calls[event.index]
    call.id = event.id or call.id
    call.name += event.name or ""
    return call


def _logprobs(whole: WholeAnswer, event: Logprobs) -> None:
    choice = whole.choice(event.choice)
    lists = choice.logprobs = {} if choice.logprobs is None else choice.logprobs
    for name, values in event.logprobs.items():
        if isinstance(values, list):
            lists.setdefault(name, []).extend(values)


def _finish(whole: WholeAnswer, event: Finish) -> None:
    whole.choice(event.choice).finish_reason = event.reason
    whole.finish_details = event.details or whole.finish_details


def _usage(whole: WholeAnswer, event: Usage) -> None:
    whole.usage = event.usage


def _started(whole: WholeAnswer, event: CallStarted) -> None:
    known = whole.host_calls.setdefault(event.id, {})
    known.update({"id": event.id, "name": event.name, "arguments": event.arguments})


def _ended(whole: WholeAnswer, event: CallFinished) -> None:
    whole.host_calls.setdefault(event.id, {}).update(extension_fields(event))


def _missing(whole: WholeAnswer, event: ToolsMissing) -> None:
    whole.missing = event


_TAKERS: Final[Mapping[type[Event], Callable[[WholeAnswer, Any], None]]] = {
    Begin: _begin,
    Text: _text,
    Reasoning: _reasoning,
    Refusal: _refusal,
    ToolCallPiece: _call,
    CustomCallPiece: _custom_call,
    Logprobs: _logprobs,
    Finish: _finish,
    Usage: _usage,
    CallStarted: _started,
    CallFinished: _ended,
    ToolsMissing: _missing,
}
