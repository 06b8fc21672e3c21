"""A response as its events tell it, at any moment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from modelhost.state.stored_response import Item

_DELTAS: Final[Mapping[str, str]] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "text",
    "response.reasoning_summary_text.delta": "text",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
    "response.mcp_call_arguments.delta": "arguments",
}
"""The field that grows, in a part of an item, or in the item itself."""
_PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "response.content_part.added": ("content", "content_index"),
    "response.reasoning_summary_part.added": ("summary", "summary_index"),
}
_ITEM_ADDED: Final = "response.output_item.added"
_ITEM_DONE: Final = "response.output_item.done"


class ResponseSnapshot:
    """The response, kept up with its events; unfinished items have what was told of them."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """Take the response as it begins. Its output is told by the events."""
        self._body = {**body, "output": []}
        self._items: dict[int, Item] = {}

    @property
    def body(self) -> Item:
        """The response object."""
        if self._body["output"]:
            return self._body
        return {**self._body, "output": [self._items[index] for index in sorted(self._items)]}

    def add(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Take in ``events``; return whether one of them began or ended an item, or changed the status."""
        has_changed = False
        for event in events:
            has_changed |= self._add(event)
        return has_changed

    def _add(self, event: Mapping[str, Any]) -> bool:
        kind = event["type"]
        if "response" in event:
            has_changed: bool = event["response"]["status"] != self._body["status"]
            self._body = dict(event["response"])
            return has_changed
        if kind in {_ITEM_ADDED, _ITEM_DONE}:
            self._items[event["output_index"]] = event["item"]
            return True
        item = self._items.get(event.get("output_index", -1))
        if item is None:
            return False
        if kind in _PARTS:
            name, _ = _PARTS[kind]
            self._items[event["output_index"]] = {**item, name: [*(item.get(name) or ()), event["part"]]}
        elif kind in _DELTAS:
            self._items[event["output_index"]] = _grown(item, event, _DELTAS[kind])
        return False


def _grown(item: Item, event: Mapping[str, Any], field: str) -> Item:
    for name, index in _PARTS.values():
        parts = item.get(name) or []
        if (at := event.get(index)) is not None:
            if at >= len(parts):
                return item
            grown = {**parts[at], field: parts[at].get(field, "") + event["delta"]}
            return {**item, name: [*parts[:at], grown, *parts[at + 1 :]]}
    return {**item, field: (item.get(field) or "") + event["delta"]}
