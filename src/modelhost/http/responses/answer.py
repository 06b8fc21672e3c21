"""An answer as the events of one response.

Whatever happens in the tool loop, it is one response: ``response.created`` comes first, one terminal event last, each
item has its own place in the output, and the events are numbered without gaps. What the host
tells beyond the API, such as questions, is in fields ``modelhost.…`` of ``keepalive`` events, as in the chunks of
:mod:`modelhost.exchange.chunks`. Clients pass these events over, and some fail at types that they do not know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from modelhost.errors import ModelhostError
from modelhost.exchange.chunks import FINISH_DETAILS, HOST_EVENTS, TOOLS, extension_fields
from modelhost.exchange.events import (
    ApprovalNeeded,
    CallCancelled,
    CallFinished,
    CallStarted,
    CustomCallPiece,
    Finish,
    HostEvent,
    Logprobs,
    Piece,
    Reasoning,
    Refusal,
    Text,
    ToolCallPiece,
    ToolsListed,
    ToolsMissing,
    Usage,
)
from modelhost.http.responses.errors import error_in
from modelhost.http.responses.items import Event, HostCallId, Item, host_call_id, new_turn, settled_call_id
from modelhost.http.responses.output_items import (
    COMPLETED,
    FAILED,
    INCOMPLETE,
    CallItem,
    CustomCallItem,
    FunctionCallItem,
    HostCallItem,
    ItemEvent,
    MessageItem,
    OutputItem,
    ReasoningItem,
    approval_request,
    listed_tools,
)
from modelhost.http.responses.parse import ParsedResponse

CREATED: Final = "response.created"
CANCELLED: Final = "cancelled"
KEEPALIVE: Final = "keepalive"
TERMINAL: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
MAX_OUTPUT_TOKENS: Final = "max_output_tokens"
CONTENT_FILTER: Final = "content_filter"
REASONS_OF_DETAILS: Final[Mapping[str, str]] = {"token_limit": MAX_OUTPUT_TOKENS, "context_limit": MAX_OUTPUT_TOKENS}
"""Why the host ended an answer, in OpenAI's words; the host's own word elsewhere."""
_NAMES: Final[Mapping[type[HostEvent], str]] = {kind: name for name, kind in HOST_EVENTS.items()}


class ResponseEvents:
    """Turns the pieces of one answer into events."""

    def __init__(self, response: Item, parsed: ParsedResponse, seal: Callable[[str], str]) -> None:
        """Take the response as it begins, what is known of the request, and what seals reasoning."""
        self._response = response
        self._parsed = parsed
        self._seal = seal if parsed.seals_reasoning else None
        self._sequence = 0
        self._output: list[Item | None] = []
        """``None`` in the place of an open item."""
        self._open: dict[int, OutputItem] = {}
        self._writing: MessageItem | ReasoningItem | None = None
        """What the model's text goes to."""
        self._calls: dict[int, CallItem] = {}
        """Those that the client makes, by the index of the call."""
        self._host_calls: dict[str, HostCallItem] = {}
        self._turns: dict[int, str] = {}
        self._finish: Finish | None = None
        self._extensions: Item = {}
        self.has_begun = False
        self.is_over = False

    @property
    def response(self) -> Item:
        output = [
            self._open[index].item(INCOMPLETE if self.is_over else "in_progress") if done is None else done
            for index, done in enumerate(self._output)
        ]
        return {**self._response, "output": output, **self._extensions}

    # The beginning and the ends.

    def begin(self) -> Iterator[Event]:
        """Yield the first events, unless they were."""
        if not self.has_begun:
            self.has_begun = True
            response = self.response
            yield self._event(CREATED, response=response)
            yield self._event("response.in_progress", response=response)

    def fail(self, error: ModelhostError) -> Iterator[Event]:
        """Yield the events of an answer that fails; none if it is over."""
        yield from self._terminal(FAILED, error=error_in(error))

    def stop(self, reason: str) -> Iterator[Event]:
        """Yield the events of an answer that stays incomplete for ``reason``; none if it is over."""
        yield from self._terminal(INCOMPLETE, incomplete_details={"reason": reason})

    def cancel(self) -> Iterator[Event]:
        """Yield the events of an answer that is cancelled, which the API has no event of its own for."""
        yield from self._terminal(CANCELLED, event=INCOMPLETE, incomplete_details={"reason": CANCELLED})

    def _terminal(self, status: str, *, event: str | None = None, **fields: Any) -> Iterator[Event]:
        if self.is_over:
            return
        yield from self.begin()
        self.is_over = True
        self._response |= {"status": status, **fields}
        yield self._event(f"response.{event or status}", response=self.response)

    # Pieces.

    def of(self, piece: Piece) -> Sequence[Event]:
        """Return the events for a piece; the last ones when it is the usage of the whole answer."""
        event, writing = piece[0], self._writing
        if isinstance(event, Text) and len(piece) == 1 and isinstance(writing, MessageItem):  # as nearly all are
            delta = writing.text_delta(self._sequence, event.text)
            if delta is not None:
                self._sequence += 1
                return (delta,)
        return list(self._of(piece))

    def _of(self, piece: Piece) -> Iterator[Event]:
        yield from self.begin()
        logprobs = self._logprobs_in(piece)
        for event in piece:
            match event:
                case Text():
                    yield from self._write(event.text, "output_text", logprobs)
                case Refusal():
                    yield from self._write(event.text, "refusal", ())
                case Reasoning():
                    yield from self._reason(event.text)
                case ToolCallPiece():
                    yield from self._call(event, FunctionCallItem, event.arguments or "")
                case CustomCallPiece():
                    yield from self._call(event, CustomCallItem, event.input or "")
                case Finish():
                    self._finish = event
                case Usage():
                    yield from self.end(event.usage)
                case HostEvent():
                    yield from self._host_event(event)
                case _:
                    pass  # the beginning, log probabilities, a usage so far: they have no events of their own

    def _logprobs_in(self, piece: Piece) -> list[Item]:
        if not self._parsed.has_logprobs:
            return []
        found = [event.logprobs.get("content") for event in piece if isinstance(event, Logprobs)]
        return [entry for content in found for entry in content or ()]

    def _write(self, text: str, kind: str, logprobs: Iterable[Item]) -> Iterator[Event]:
        if not isinstance(self._writing, MessageItem):
            yield from self._end_writing()
            self._writing = MessageItem(len(self._output))
            yield from self._begin_item(self._writing)
        yield from self._numbered(self._writing.write(kind, text, list(logprobs)))

    def _reason(self, text: str) -> Iterator[Event]:
        if not isinstance(self._writing, ReasoningItem):
            yield from self._end_writing()
            is_summary = self._parsed.is_summarised
            self._writing = ReasoningItem(len(self._output), self._seal, is_summary=is_summary)
            yield from self._begin_item(self._writing)
        yield from self._numbered(self._writing.write(text))

    def _call(
        self, event: ToolCallPiece | CustomCallPiece, kind: type[FunctionCallItem | CustomCallItem], text: str
    ) -> Iterator[Event]:
        """Yield the events of a piece of a call; calls may be interleaved."""
        call = self._calls.get(event.index)
        if call is None:
            yield from self._end_writing()
            yield from self._end_complete_calls()
            call = self._calls[event.index] = kind(len(self._output), event.id, event.name or "")
            yield from self._begin_item(call)
        else:
            call.name += event.name or ""  # as engines may write it in pieces
        if text and call.index in self._open:  # else white space behind the JSON of a call that is complete
            yield from self._numbered(call.write(text))

    def _end_complete_calls(self) -> Iterator[Event]:
        for call in self._calls.values():
            if call.index in self._open and (not isinstance(call, FunctionCallItem) or call.is_complete):
                yield from self._end_item(call)

    # Events of the host.

    def _host_event(self, event: HostEvent) -> Iterator[Event]:
        match event:
            case CallStarted():
                yield from self._end_writing()
                approval = self._parsed.approvals.get(event.id) if event.turn == 0 else None
                call_id = self._host_call_id(event) if approval is None else settled_call_id(approval)
                call = HostCallItem(len(self._output), call_id, event, approval)
                self._host_calls[event.id] = call
                yield from self._begin_item(call)
            case CallFinished() | CallCancelled():
                call = self._host_calls[event.id]
                result = event if isinstance(event, CallFinished) else None
                yield from self._end_item(call, call.finish(result))
            case ToolsListed():
                if event.server not in self._parsed.listed:
                    yield from self._add_whole(listed_tools(len(self._output), event))
            case ApprovalNeeded():
                yield from self._end_writing()
                yield from self._add_whole(approval_request(len(self._output), self._host_call_id(event), event))
            case _:
                fields = extension_fields(event)
                if isinstance(event, ToolsMissing):
                    self._extensions[TOOLS] = fields
                yield self._event(KEEPALIVE, **{_NAMES[event.__class__]: fields})

    def _host_call_id(self, event: CallStarted | ApprovalNeeded) -> HostCallId:
        return host_call_id(self._turns.setdefault(event.turn, new_turn()), event.id)

    def _add_whole(self, events: Iterable[ItemEvent]) -> Iterator[Event]:
        """Yield the events of an item that is complete at once."""
        self._output.append(None)
        for kind, payload in events:
            if kind == "output_item.done":
                self._output[payload["output_index"]] = payload["item"]
            yield self._event(f"response.{kind}", **payload)

    # Items.

    def _begin_item(self, item: OutputItem) -> Iterator[Event]:
        self._output.append(None)
        self._open[item.index] = item
        yield from self._numbered(item.begin())

    def _end_item(
        self, item: OutputItem, events: Iterable[ItemEvent] | None = None, status: str = COMPLETED
    ) -> Iterator[Event]:
        for kind, payload in item.end(status) if events is None else events:
            if kind == "output_item.done":
                self._output[item.index] = payload["item"]
                del self._open[item.index]
            yield self._event(f"response.{kind}", **payload)

    def _end_writing(self, status: str = COMPLETED) -> Iterator[Event]:
        if (written := self._writing) is not None:
            self._writing = None
            yield from self._end_item(written, status=status)

    def end(self, usage: Mapping[str, Any] | None) -> Iterator[Event]:
        """Yield the last events of an answer that is over, with its usage; none if they were."""
        if self.is_over:
            return
        yield from self.begin()
        reason = self._incomplete_reason()
        status = COMPLETED if reason is None else INCOMPLETE
        yield from self._end_writing(status)
        for item in list(self._open.values()):
            yield from self._end_item(item, status=status)
        details = None if self._finish is None else self._finish.details
        if details is not None:
            self._extensions[FINISH_DETAILS] = {"type": details.kind, "message": details.message}
        self._response["usage"] = None if usage is None else usage_of(usage)
        if reason is None:
            yield from self._terminal(COMPLETED, completed_at=int(time.time()))
        else:
            yield from self.stop(reason)

    def _incomplete_reason(self) -> str | None:
        finish = self._finish
        if finish is None or finish.reason not in ("length", CONTENT_FILTER):
            return None
        if finish.reason == CONTENT_FILTER:
            return CONTENT_FILTER
        if finish.details is None:
            return MAX_OUTPUT_TOKENS
        return REASONS_OF_DETAILS.get(finish.details.kind, finish.details.kind)

    def _numbered(self, events: Iterable[ItemEvent]) -> Iterator[Event]:
        for kind, payload in events:
            yield self._event(f"response.{kind}", **payload)

    def _event(self, name: str, /, **fields: Any) -> Event:
        number = self._sequence
        self._sequence += 1
        return {"type": name, "sequence_number": number, **fields}


def usage_of(usage: Mapping[str, Any]) -> Item:
    """Return an engine's usage in the form of a response's."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    given, written = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": usage.get("total_tokens") or given + written,
    }
