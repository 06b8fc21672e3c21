"""Items: what the input and the output of a response consist of, as OpenAI's JSON; and the query of a page of them.

An item that is stored, sent to a client or received from one has the same form, with an id. The ids of calls that the
host made also tell which of them belong to one turn of the model, and the id that the model's prompt has for the call:
from these, :mod:`modelhost.http.responses.conversation` makes the same messages as the host had when it made them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from starlette.datastructures import QueryParams

from modelhost.errors import InvalidRequest, NotFound

Item = dict[str, Any]
Event = dict[str, Any]
"""An event of a response: its ``type``, its ``sequence_number``, and what it tells."""
Find = Callable[[str], Item | None]
"""Finds an item by its id among those that the caller may refer to."""

ID_BYTES: Final = 24
TURN_BYTES: Final = 8
CALL_ID_CHARS: Final = 40
"""A longer id of a call is replaced: an id of an item has at most 64 characters in OpenAI's API."""
PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
    "mcp_list_tools": "mcpl",
    "mcp_call": "mcp",
    "mcp_approval_request": "mcpr",
    "mcp_approval_response": "mcpa",
    "compaction": "cmp",
}
REFERENCE: Final = "item_reference"
APPROVAL: Final = "mcp_approval_response"
MESSAGE: Final = "message"


def new_id(prefix: str) -> str:
    """Return a random id, such as ``resp_…``."""
    return f"{prefix}_{secrets.token_hex(ID_BYTES)}"


class HostCallId(NamedTuple):
    """What the id of a call that the host made, or left to be approved, consists of."""

    turn: str
    """The same for the calls of one turn; empty in an id that this host did not make."""
    call_id: str
    """The id of the call in the model's prompt."""

    def written(self, kind: str) -> str:
        """Return the id of an item of this type."""
        return f"{PREFIXES[kind]}_{self.turn}_{self.call_id}"


def new_turn() -> str:
    """Return what the ids of the calls of a turn have in common."""
    return secrets.token_hex(TURN_BYTES)


def host_call_id(turn: str, call_id: str) -> HostCallId:
    is_usable = bool(call_id) and len(call_id) <= CALL_ID_CHARS and call_id.isascii() and call_id.isprintable()
    return HostCallId(turn, call_id if is_usable else f"call_{secrets.token_hex(ID_BYTES // 2)}")


def parsed_host_call_id(item_id: str) -> HostCallId:
    parts = item_id.split("_", 2)
    if len(parts) == 3 and len(parts[1]) == 2 * TURN_BYTES and parts[2]:
        return HostCallId(parts[1], parts[2])
    return HostCallId("", item_id)


def settled_call_id(request_id: str) -> HostCallId:
    """Return the id for the call of an approval request: always the same, so that an earlier decision is found.

    Its turn is none of the model's: the call is made behind the others of that turn.
    """
    turn, call_id = parsed_host_call_id(request_id)
    return host_call_id(hashlib.sha256(turn.encode()).hexdigest()[: 2 * TURN_BYTES], call_id)


def input_items(given: str | list[Item], find: Find) -> list[Item]:
    """Return the items of ``given``, a checked ``input``, each with an id and a type.

    A text is a message of the user. References are replaced by the items that ``find`` returns.

    Raises:
        NotFound: there is no item of that id.
    """
    if isinstance(given, str):
        return [_message({"role": "user", "content": given})]
    return [_item(item, place, find) for place, item in enumerate(given)]


def _item(given: Item, place: int, find: Find) -> Item:
    kind = kind_of(given)
    if kind == REFERENCE:
        found = find(given["id"])
        if found is None:
            raise NotFound(
                f"input[{place}].id: there is no item {given['id']}. Items of responses with store: false are not "
                "kept: send the item itself.",
                param=f"input[{place}].id",
            )
        return found
    if kind == MESSAGE:
        return _message(given)
    return {**given, "id": given.get("id") or new_id(PREFIXES.get(kind, "item"))}


def kind_of(given: Mapping[str, Any]) -> str:
    """Return the type of an item, which messages and references may leave out."""
    kind = given.get("type")
    if isinstance(kind, str):
        return kind
    return MESSAGE if "role" in given else REFERENCE


def _message(given: Mapping[str, Any]) -> Item:
    content = given["content"]
    if isinstance(content, str):
        content = [text_part(content, is_written=given["role"] == "assistant")]
    known = {
        "id": given.get("id") or new_id(PREFIXES[MESSAGE]),
        "type": MESSAGE,
        "status": given.get("status") or "completed",
        "role": given["role"],
        "content": content,
    }
    return {**known, **{name: value for name, value in given.items() if name not in known}}


def text_part(text: str, *, is_written: bool) -> Item:
    """Return a part of a message; ``is_written`` by the model."""
    if is_written:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


DEFAULT_LIMIT: Final = 20
MOST: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Which part of a list is wanted, in which order."""

    limit: int = DEFAULT_LIMIT
    is_ascending: bool = False
    after: str | None = None


def page_query(query: QueryParams) -> PageQuery:
    """Return the page that ``query`` asks for; raises InvalidRequest."""
    limit, order = query.get("limit", str(DEFAULT_LIMIT)), query.get("order", "desc")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 4 and 1 <= int(limit) <= MOST):
        raise InvalidRequest(f"limit: a number from 1 to {MOST} is needed.", param="limit")
    if order not in {"asc", "desc"}:
        raise InvalidRequest('order: "asc" or "desc" is needed.', param="order")
    return PageQuery(limit=int(limit), is_ascending=order == "asc", after=query.get("after") or None)
