"""Responses and conversations of OpenAI's Responses API as stored, also when the host of a response ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from modelhost.errors import StateDamaged
from modelhost.state.leases import Holder

Item = dict[str, Any]
"""An item of OpenAI's API: a message, a call, its result, a reasoning ...; or a whole response, or an event."""

UNFINISHED: Final = ("queued", "in_progress")
"""The statuses of a response that is still being made."""
HOST_STOPPED: Final = "host_stopped"
"""Why a response is incomplete whose host stopped, or was killed."""
CANCELLED: Final = "cancelled"
"""The status of a response that was cancelled, and the reason why it is incomplete."""
KEPT_IN_CONVERSATIONS: Final = ("completed", "incomplete")
"""The statuses of responses whose items are added to their conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPlace:
    """Where a response belongs in a conversation: ``position`` is that of the first item after its history."""

    id: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResponse:
    """A response to store. ``own_input`` are the items of its request, without those of its predecessors."""

    body: Item
    owner: str
    own_input: Sequence[Item]
    is_background: bool = False
    previous_id: str | None = None
    conversation: ConversationPlace | None = None

    @property
    def id(self) -> str:
        return str(self.body["id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response in the database.

    ``holder`` is the process that makes it, if it is unfinished; ``is_expired``: that process was not heard of for
    longer than its lease.
    """

    id: str
    status: str
    created_at: datetime
    used_at: datetime
    is_background: bool
    previous_id: str | None
    conversation: ConversationPlace | None
    own_input: tuple[Item, ...]
    body: Item
    holder: Holder | None
    is_expired: bool

    @property
    def is_finished(self) -> bool:
        return self.status not in UNFINISHED

    @property
    def items(self) -> tuple[Item, ...]:
        """What it adds to a conversation: its own input and its output."""
        return (*self.own_input, *self.body["output"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a response in the making has added: its events, and the response object if that changed."""

    events: Sequence[Item] = ()
    body: Item | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How much is stored. ``size_bytes`` is the size of all responses and conversations as JSON."""

    responses: int
    conversations: int
    size_bytes: int


def ended(body: Mapping[str, Any], status: str, reason: str | None = None) -> Item:
    """Return the response ``body`` with its final ``status``; its unfinished items become incomplete."""
    output = [
        {**item, "status": "incomplete"} if item.get("status") == "in_progress" else item for item in body["output"]
    ]
    details = body.get("incomplete_details") if reason is None else {"reason": reason}
    return {**body, "status": status, "incomplete_details": details, "output": output}


def terminal_event(body: Mapping[str, Any], sequence_number: int) -> Item:
    """Return the last event of the response ``body``, which has its final status."""
    name = body["status"] if body["status"] in {"completed", "failed"} else "incomplete"
    return {"type": f"response.{name}", "sequence_number": sequence_number, "response": dict(body)}


def item_ids(items: Sequence[Item]) -> Iterator[str]:
    """Yield the ids of ``items``, each once; items without one are left out."""
    yield from dict.fromkeys(item["id"] for item in items if isinstance(item.get("id"), str))


def decoded(text: bytes) -> Any:
    """Return stored JSON; raises StateDamaged if it is none, since it was changed from outside."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StateDamaged(
            f"A stored response or conversation is not JSON ({error}): it was changed from outside. Delete it."
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConversation:
    """A conversation without its items; the next item gets ``next_position``, and positions are not reused."""

    id: str
    created_at: datetime
    used_at: datetime
    metadata: Mapping[str, Any]
    next_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPage:
    """Some items of a list, and whether there are more behind them."""

    items: tuple[Item, ...]
    has_more: bool


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
    """The response, kept up with its events; unfinished items have what the events so far hold of them."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """Take the response as it begins. Its output comes with the events."""
        self._body = {**body, "output": []}
        self._items: dict[int, Item] = {}

    @property
    def body(self) -> Item:
        if self._body["output"]:
            return self._body
        return {**self._body, "output": [self._items[index] for index in sorted(self._items)]}

    def add(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Take in ``events``; return whether one of them began or ended an item, or changed the status."""
        has_changed = False
        for event in events:
            has_changed |= self._add_one(event)
        return has_changed

    def _add_one(self, event: Mapping[str, Any]) -> bool:
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
