"""Answers as events of Anthropic's Messages API, and as messages that are put together from these events.

Calls that the host makes are ``mcp_tool_use`` and ``mcp_tool_result`` blocks, as in the beta ``mcp-client``. Other
events of the host, such as questions, have names with a dot, such as ``modelhost.question``, which clients ignore; they
are those of :mod:`modelhost.exchange.chunks`.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from uuid import uuid4

import orjson

from modelhost import json_text
from modelhost.chat.stops import STOP_SEQUENCE
from modelhost.exchange.chunks import FINISH_DETAILS, HOST_EVENTS, extension_fields
from modelhost.exchange.events import (
    CallCancelled,
    CallFinished,
    CallStarted,
    Envelope,
    Finish,
    HostEvent,
    Piece,
    Reasoning,
    Refusal,
    Text,
    ToolCallPiece,
    Usage,
)
from modelhost.http.anthropic.parse import ThinkingFormat
from modelhost.http.translation import INVALID, arguments_in

AnthropicEvent = dict[str, Any]

STOP_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
CONTEXT_FULL: Final = "model_context_window_exceeded"
REASONS_OF_DETAILS: Final[Mapping[str, str]] = {
    STOP_SEQUENCE: STOP_SEQUENCE,
    "turn_limit": "pause_turn",
    "time_limit": "pause_turn",
    "token_limit": "max_tokens",
    "context_limit": CONTEXT_FULL,
}
"""Why the host ended an answer, as a stop reason; ``pause_turn`` asks the client to send the answer back as it is."""
USAGE_OF_ANTHROPIC: Final = {"cache_creation": None, "inference_geo": None, "service_tier": "standard"}
"""Further fields of a message's usage."""


class MessageEvents:
    """Turns the pieces of one answer into events."""

    def __init__(
        self,
        *,
        thinking: ThinkingFormat,
        sign: Callable[[str], str],
        max_tokens: int | None = None,
    ) -> None:
        """Take how to show thinking, and what signs it; with a ``max_tokens`` of 0, answers are empty."""
        self._thinking = thinking
        self._sign = sign
        self._max_tokens = max_tokens
        self._has_begun = False
        self._index = -1
        self._open: str | None = None
        """The type of the open block."""
        self._text_head = b""
        """What the delta of a text in the open block begins with, encoded."""
        self._reasoning: list[str] = []
        self._call: int | None = None
        """The index of the call in the open block."""
        self._arguments = ""
        self._made: set[int] = set()
        """The indices of the calls that have a block."""
        self._later: dict[int, list[ToolCallPiece]] = {}
        """Pieces of calls that begin before the open one is complete."""
        self._finish: Finish | None = None

    def of(self, piece: Piece) -> Iterator[AnthropicEvent]:
        """Yield the events for a piece; the last ones when it is the usage of the whole answer."""
        if not self._has_begun and not isinstance(piece[0], HostEvent):
            yield self._begin(piece[0].envelope)
        for event in piece:
            match event:
                case Text() | Refusal() | Reasoning() | ToolCallPiece() if self._max_tokens == 0:
                    pass
                case Text() | Refusal():
                    yield from self._text(event.text)
                case Reasoning():
                    yield from self._reason(event.text)
                case ToolCallPiece():
                    yield from self._call_piece(event)
                case Finish():
                    self._finish = event
                case Usage():
                    yield from self._end(event)
                case HostEvent():
                    yield from self._host_event(event)
                case _:
                    pass  # the beginning, log probabilities, a usage so far: nothing of them is in this API

    def block(self, piece: Piece) -> bytes:
        """Return the events for a piece as server-sent events; empty if it has none."""
        event = piece[0]
        if event.__class__ is Text and len(piece) == 1 and self._open == "text":  # as nearly all are
            return self._text_head + json_text.encode(event.text) + TEXT_TAIL
        return b"".join(map(encoded, self.of(piece)))

    def _begin(self, envelope: Envelope) -> AnthropicEvent:
        self._has_begun = True
        message: AnthropicEvent = {
            "id": message_id(envelope.id),
            "type": "message",
            "role": "assistant",
            "model": envelope.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": {**usage_of({}), **USAGE_OF_ANTHROPIC},
        }
        return {"type": "message_start", "message": message}

    # Blocks.

    def _start(self, block: dict[str, Any]) -> Iterator[AnthropicEvent]:
        yield from self._close()
        self._index += 1
        self._open = block["type"]
        self._text_head = TEXT_HEAD % self._index
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, kind: str, name: str, value: str) -> AnthropicEvent:
        return {"type": "content_block_delta", "index": self._index, "delta": {"type": kind, name: value}}

    def _close(self) -> Iterator[AnthropicEvent]:
        if self._open is None:
            return
        if self._open == "thinking":
            shown = "" if self._thinking.is_omitted else "".join(self._reasoning)
            yield self._delta("signature_delta", "signature", self._sign(shown))
            self._reasoning = []
        self._open = self._call = None
        self._arguments = ""
        yield {"type": "content_block_stop", "index": self._index}

    def _text(self, text: str) -> Iterator[AnthropicEvent]:
        if self._open != "text":
            # Anthropic's schema requires `citations`, and the Vercel AI SDK refuses null.
            yield from self._start({"type": "text", "text": "", "citations": []})
        yield self._delta("text_delta", "text", text)

    def _reason(self, text: str) -> Iterator[AnthropicEvent]:
        if not self._thinking.is_shown:
            return
        if self._open != "thinking":
            yield from self._start({"type": "thinking", "thinking": "", "signature": ""})
        self._reasoning.append(text)
        if not self._thinking.is_omitted:
            yield self._delta("thinking_delta", "thinking", text)

    def _call_piece(self, event: ToolCallPiece) -> Iterator[AnthropicEvent]:
        """Yield the events of a piece of a call: blocks follow one another, where calls may be interleaved."""
        if event.index != self._call:
            if event.index in self._made and not (event.arguments or "").strip():
                return  # white space behind the JSON of a call that is complete
            if event.index in self._later or (self._call is not None and not _is_json(self._arguments)):
                self._later.setdefault(event.index, []).append(event)
                return
            known = {"id": event.id or _new_call_id(), "name": event.name or "", "input": {}}
            yield from self._start({"type": "tool_use", **known, "caller": {"type": "direct"}})
            self._call = event.index
            self._made.add(event.index)
        if event.arguments:
            self._arguments += event.arguments
            yield self._delta("input_json_delta", "partial_json", event.arguments)

    def _delayed_calls(self) -> Iterator[AnthropicEvent]:
        delayed, self._later = self._later, {}
        for pieces in delayed.values():
            yield from self._close()
            for event in pieces:
                yield from self._call_piece(event)

    # Events of the host.

    def _host_event(self, event: HostEvent) -> Iterator[AnthropicEvent]:
        fields = {"type": _NAMES[event.__class__], **extension_fields(event)}
        if not isinstance(event, CallStarted | CallFinished | CallCancelled):
            yield fields
            return
        if not self._has_begun:
            yield self._begin(event.envelope)
        if isinstance(event, CallStarted):
            given = {} if event.arguments is None else event.arguments
            arguments = given if isinstance(given, dict) else {INVALID: given}
            use = {
                "type": "mcp_tool_use",
                "id": event.id,
                "name": event.name,
                "server_name": event.server,
                "input": arguments,
            }
            yield from self._start(use)
            yield from self._close()
            return
        text, is_error = (
            (event.text, event.is_error) if isinstance(event, CallFinished) else ("The call was cancelled.", True)
        )
        content = [{"type": "text", "text": text}]
        yield from self._start(
            {"type": "mcp_tool_result", "tool_use_id": event.id, "is_error": is_error, "content": content}
        )
        yield from self._close()

    # The end.

    def _end(self, event: Usage) -> Iterator[AnthropicEvent]:
        yield from self._delayed_calls()
        yield from self._close()
        usage = usage_of(event.usage or {})
        if self._max_tokens == 0:
            usage["output_tokens"] = 0
        reason, sequence = self._stop_reason(usage["output_tokens"])
        ended: AnthropicEvent = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence, "stop_details": None, "container": None},
            "usage": usage,
        }
        details = None if self._finish is None else self._finish.details
        if details is not None and details.kind != STOP_SEQUENCE:
            ended[FINISH_DETAILS] = {"type": details.kind, "message": details.message}
        yield ended
        yield MESSAGE_STOP

    def _stop_reason(self, output_tokens: int) -> tuple[str, str | None]:
        if self._max_tokens == 0:
            return STOP_REASONS["length"], None
        finish = self._finish or Finish(reason="stop")
        details = finish.details
        if details is not None and details.kind in REASONS_OF_DETAILS:
            return REASONS_OF_DETAILS[details.kind], details.message if details.kind == STOP_SEQUENCE else None
        if finish.reason == "length" and details is None and output_tokens < (self._max_tokens or 0):
            return CONTEXT_FULL, None
        return STOP_REASONS.get(finish.reason, "end_turn"), None


_NAMES: Final[Mapping[type[HostEvent], str]] = {kind: name for name, kind in HOST_EVENTS.items()}


def message_id(engine_id: str | None) -> str:
    """Return the id of a message, made from that of the engine's answer."""
    return "msg_" + (engine_id or uuid4().hex).removeprefix("chatcmpl-")


def _new_call_id() -> str:
    return f"toolu_{uuid4().hex[:24]}"


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return an engine's usage as Anthropic counts: tokens of the prompt that were cached are not input tokens."""
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": max(0, (usage.get("prompt_tokens") or 0) - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.get("completion_tokens") or 0,
        "output_tokens_details": None if thought is None else {"thinking_tokens": thought},
        "server_tool_use": None,
    }


def encoded(event: AnthropicEvent) -> bytes:
    name: str = event["type"]
    return b"event: " + name.encode() + b"\ndata: " + json_text.encode(event) + b"\n\n"


TEXT_HEAD: Final = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":'
)
TEXT_TAIL: Final = b"}}\n\n"
MESSAGE_STOP: Final[AnthropicEvent] = {"type": "message_stop"}
STOP: Final = encoded(MESSAGE_STOP)
PING: Final = encoded({"type": "ping"})


class WholeMessage:
    """Puts a message together from its events, as a client does."""

    def __init__(self, events: MessageEvents) -> None:
        self._events = events
        self._message: dict[str, Any] = {}
        self._arguments = ""

    def add(self, piece: Piece) -> None:
        for event in self._events.of(piece):
            self._add(event)

    def json(self) -> dict[str, Any]:
        return self._message

    def _add(self, event: AnthropicEvent) -> None:
        match event["type"]:
            case "message_start":
                self._message = {**event["message"], **self._message}
                self._message["content"] = []
            case "content_block_start":
                self._message["content"].append(dict(event["content_block"]))
                self._arguments = ""
            case "content_block_delta":
                self._add_delta(self._message["content"][-1], event["delta"])
            case "content_block_stop" if self._arguments:
                self._message["content"][-1]["input"] = arguments_in(self._arguments)
            case "message_delta":
                self._message.update({name: value for name, value in event.items() if name not in IN_PARTS})
                self._message.update(event["delta"])
                self._message["usage"] |= event["usage"]
            case kind if kind in ONCE:
                self._message[kind] = {name: value for name, value in event.items() if name != "type"}

    def _add_delta(self, block: dict[str, Any], delta: Mapping[str, str]) -> None:
        match delta["type"]:
            case "text_delta":
                block["text"] += delta["text"]
            case "thinking_delta":
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "input_json_delta":
                self._arguments += delta["partial_json"]


IN_PARTS: Final = frozenset({"type", "delta", "usage"})
ONCE: Final = frozenset({"modelhost.tools"})
"""Events of the host that are part of a whole message, too."""
