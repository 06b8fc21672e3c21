"""Responses of OpenAI's Responses API as they are stored, and what becomes of one whose host ended. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
        """The id of the response."""
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
        """Whether it has its final status."""
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
    output = [_ended_item(item) for item in body["output"]]
    details = body.get("incomplete_details") if reason is None else {"reason": reason}
    return {**body, "status": status, "incomplete_details": details, "output": output}


def _ended_item(item: Item) -> Item:
    return {**item, "status": "incomplete"} if item.get("status") == "in_progress" else item


def terminal_event(body: Mapping[str, Any], sequence_number: int) -> Item:
    """Return the last event of the response ``body``, which has its final status."""
    name = body["status"] if body["status"] in {"completed", "failed"} else "incomplete"
    return {"type": f"response.{name}", "sequence_number": sequence_number, "response": dict(body)}


def item_ids(items: Sequence[Item]) -> Iterator[str]:
    """Yield the ids of ``items``, each once; items without one are left out."""
    yield from dict.fromkeys(item["id"] for item in items if isinstance(item.get("id"), str))


def decoded(text: bytes) -> Any:
    """Return stored JSON.

    Raises:
        StateDamaged: it is none, since it was changed from outside.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StateDamaged(
            f"A stored response or conversation is not JSON ({error}): it was changed from outside. Delete it."
        ) from None
