"""The items of a response's output while the model writes them, each with the events that tell of it.

An item is open from its ``response.output_item.added`` to its ``response.output_item.done``. Several may be open at a
time: each event names its item and its place in the output.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from modelhost import json_text
from modelhost.exchange.events import ApprovalNeeded, CallFinished, CallStarted, ListedTool, ToolsListed
from modelhost.http.responses.items import PREFIXES, Event, HostCallId, Item, new_id, text_part

Part = dict[str, Any]
ItemEvent = tuple[str, Item]
"""An event of an item: its type behind ``response.``, and its payload without the number."""

IN_PROGRESS: Final = "in_progress"
COMPLETED: Final = "completed"
INCOMPLETE: Final = "incomplete"
FAILED: Final = "failed"
OUTPUT_TEXT: Final = "output_text"
TEXT_DELTA: Final = f"response.{OUTPUT_TEXT}.delta"


class OutputItem(ABC):
    """An item at its place in the output."""

    kind: ClassVar[str]

    def __init__(self, index: int, item_id: str | None = None) -> None:
        self.index = index
        self.id = item_id or new_id(PREFIXES[self.kind])
        self.at: Item = {"item_id": self.id, "output_index": index}
        """What all events of the item have."""

    @abstractmethod
    def item(self, status: str) -> Item:
        """Return the item as it is now."""

    def begin(self) -> Iterator[ItemEvent]:
        yield "output_item.added", {"output_index": self.index, "item": self.item(IN_PROGRESS)}

    def end(self, status: str = COMPLETED) -> Iterator[ItemEvent]:
        yield "output_item.done", {"output_index": self.index, "item": self.item(status)}


class MessageItem(OutputItem):
    """A message of the model: text, a refusal, or both."""

    kind = "message"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._parts: list[Part] = []
        self._texts: list[str] = []
        """Of the open part, the last one."""
        self._logprobs: list[Item] = []
        self._place: Item = {}
        self._delta: Event | None = None
        """The event of a piece of text in the open part, without number and text."""

    def item(self, status: str) -> Item:
        parts = [*self._parts[:-1], self._open_part()] if self._parts else []
        return {"id": self.id, "type": self.kind, "status": status, "role": "assistant", "content": parts}

    def write(self, kind: str, text: str, logprobs: Sequence[Item] = ()) -> Iterator[ItemEvent]:
        """Yield the events of a piece of text; ``kind`` is ``output_text`` or ``refusal``."""
        if not self._parts or self._parts[-1]["type"] != kind:
            yield from self._end_part()
            part: Part = {"type": kind, "refusal": ""} if kind == "refusal" else text_part("", is_written=True)
            self._parts.append(part)
            self._texts, self._logprobs = [], []
            self._place = {**self.at, "content_index": len(self._parts) - 1}
            at = {"type": TEXT_DELTA, "sequence_number": 0, **self._place}
            self._delta = {**at, "delta": "", "logprobs": []} if kind == OUTPUT_TEXT else None
            yield "content_part.added", {**self._place, "part": dict(part)}
        self._texts.append(text)
        delta: Item = {**self._place, "delta": text}
        if kind != "refusal":
            self._logprobs += logprobs
            delta["logprobs"] = list(logprobs)
        yield f"{kind}.delta", delta

    def text_delta(self, number: int, text: str) -> Event | None:
        """Return the event ``number`` of a piece of text, ``None`` if a part begins with it."""
        if self._delta is None:
            return None
        self._texts.append(text)
        delta = self._delta.copy()
        delta["sequence_number"], delta["delta"] = number, text
        return delta

    def end(self, status: str = COMPLETED) -> Iterator[ItemEvent]:
        yield from self._end_part()
        yield from super().end(status)

    def _open_part(self) -> Part:
        part, text = self._parts[-1], "".join(self._texts)
        if part["type"] == "refusal":
            return {**part, "refusal": text}
        return {**part, "text": text, "logprobs": self._logprobs}

    def _end_part(self) -> Iterator[ItemEvent]:
        if not self._parts:
            return
        part = self._parts[-1] = self._open_part()
        if part["type"] == "refusal":
            yield "refusal.done", {**self._place, "refusal": part["refusal"]}
        else:
            yield "output_text.done", {**self._place, "text": part["text"], "logprobs": part["logprobs"]}
        yield "content_part.done", {**self._place, "part": part}


class ReasoningItem(OutputItem):
    """Reasoning: as its text, or as a summary, which here is the same text."""

    kind = "reasoning"

    def __init__(self, index: int, seal: Callable[[str], str] | None, *, is_summary: bool) -> None:
        """Take what seals the text, ``None``: it is not to be sealed."""
        super().__init__(index)
        self._seal = seal
        self._texts: list[str] = []
        self._name = "reasoning_summary_text" if is_summary else "reasoning_text"
        self._is_summary = is_summary
        self._place: Item = {**self.at, "summary_index" if is_summary else "content_index": 0}

    def item(self, status: str) -> Item:
        parts = [self._part()] if self._texts else []
        made: Item = {"id": self.id, "type": self.kind, "status": status, "summary": [], "content": []}
        made["summary" if self._is_summary else "content"] = parts
        made["encrypted_content"] = self._seal("".join(self._texts)) if self._seal and self._texts else None
        return made

    def write(self, text: str) -> Iterator[ItemEvent]:
        if not self._texts:
            yield f"{self._part_name}.added", {**self._place, "part": self._part()}
        self._texts.append(text)
        yield f"{self._name}.delta", {**self._place, "delta": text}

    def end(self, status: str = COMPLETED) -> Iterator[ItemEvent]:
        if self._texts:
            part = self._part()
            yield f"{self._name}.done", {**self._place, "text": part["text"]}
            yield f"{self._part_name}.done", {**self._place, "part": part}
        yield from super().end(status)

    @property
    def _part_name(self) -> str:
        return "reasoning_summary_part" if self._is_summary else "content_part"

    def _part(self) -> Part:
        return {"type": "summary_text" if self._is_summary else "reasoning_text", "text": "".join(self._texts)}


class CallItem(OutputItem):
    """A call that the client makes: of a function, or of a custom tool."""

    field: ClassVar[str]
    """What the tool is called with."""
    event: ClassVar[str]

    def __init__(self, index: int, call_id: str | None, name: str) -> None:
        super().__init__(index)
        self.call_id = call_id or new_id("call")
        self.name = name
        self.written = ""

    def item(self, status: str) -> Item:
        known = {"id": self.id, "type": self.kind, "status": status, "call_id": self.call_id, "name": self.name}
        return {**known, self.field: self.written}

    def write(self, text: str) -> Iterator[ItemEvent]:
        """Yield the event of a piece of what the tool is called with."""
        self.written += text
        yield f"{self.event}.delta", {**self.at, "delta": text}

    def end(self, status: str = COMPLETED) -> Iterator[ItemEvent]:
        yield f"{self.event}.done", {**self.at, self.field: self.written}
        yield from super().end(status)


class FunctionCallItem(CallItem):
    """A call of a function."""

    kind = "function_call"
    field = "arguments"
    event = "function_call_arguments"

    @property
    def is_complete(self) -> bool:
        """Whether its arguments are a whole JSON object."""
        try:
            return isinstance(json_text.decode(self.written), dict)
        except ValueError:
            return False


class CustomCallItem(CallItem):
    """A call of a custom tool."""

    kind = "custom_tool_call"
    field = "input"
    event = "custom_tool_call_input"


class HostCallItem(OutputItem):
    """A call that the host makes."""

    kind = "mcp_call"

    def __init__(self, index: int, call_id: HostCallId, call: CallStarted, approval_id: str | None) -> None:
        super().__init__(index, call_id.written(self.kind))
        self._item: Item = {
            "id": self.id,
            "type": self.kind,
            "status": IN_PROGRESS,
            "server_label": call.server,
            "name": call.tool or call.name,
            "arguments": call.written or json_text.encode(call.arguments).decode(),
            "approval_request_id": approval_id,
            "output": None,
            "error": None,
        }

    def item(self, status: str) -> Item:
        is_over = self._item["status"] != IN_PROGRESS
        return {**self._item, "status": self._item["status"] if is_over else status}

    def begin(self) -> Iterator[ItemEvent]:
        arguments = self._item["arguments"]
        added = {**self._item, "arguments": ""}
        yield "output_item.added", {"output_index": self.index, "item": added}
        yield "mcp_call.in_progress", self.at
        yield "mcp_call_arguments.delta", {**self.at, "delta": arguments}
        yield "mcp_call_arguments.done", {**self.at, "arguments": arguments}

    def finish(self, result: CallFinished | None) -> Iterator[ItemEvent]:
        """Yield the events with which the call is over; without a ``result`` it was cancelled."""
        text = "The call was cancelled." if result is None else result.text
        if result is not None and not result.is_error:
            self._item |= {"status": COMPLETED, "output": text}
            yield "mcp_call.completed", self.at
        else:
            content = [{"type": "text", "text": text}]
            self._item |= {"status": FAILED, "error": {"type": "mcp_tool_execution_error", "content": content}}
            yield "mcp_call.failed", self.at
        yield from super().end(self._item["status"])


def listed_tools(index: int, event: ToolsListed) -> Iterator[ItemEvent]:
    item: Item = {
        "id": new_id(PREFIXES["mcp_list_tools"]),
        "type": "mcp_list_tools",
        "server_label": event.server,
        "tools": [],
    }
    at = {"item_id": item["id"], "output_index": index}
    yield "output_item.added", {"output_index": index, "item": item}
    yield "mcp_list_tools.in_progress", at
    tools = [_listed(tool) for tool in event.tools]
    yield f"mcp_list_tools.{COMPLETED if event.error is None else FAILED}", at
    error = {} if event.error is None else {"error": event.error}
    yield "output_item.done", {"output_index": index, "item": {**item, "tools": tools, **error}}


def _listed(tool: ListedTool) -> Item:
    """Return a tool of a server. Fields without a value are left out, since the AI SDK refuses ``null`` there."""
    shown = {"name": tool.tool, "description": tool.description, "input_schema": tool.schema}
    shown["annotations"] = tool.annotations or None
    return {name: value for name, value in shown.items() if value is not None}


def approval_request(index: int, call_id: HostCallId, event: ApprovalNeeded) -> Iterator[ItemEvent]:
    kind = "mcp_approval_request"
    known: Mapping[str, Any] = {"server_label": event.server, "name": event.tool, "arguments": event.written}
    item = {"id": call_id.written(kind), "type": kind, **known}
    yield "output_item.added", {"output_index": index, "item": item}
    yield "output_item.done", {"output_index": index, "item": item}
