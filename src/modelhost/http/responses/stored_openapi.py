"""The description in ``/openapi.json`` of what is stored of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from modelhost import errors
from modelhost.config.value_types import LONGEST_ID, WITHOUT_CONTROLS
from modelhost.http.admin.openapi import refusals
from modelhost.http.openapi_parts import COUNTED, EVENTS, TEXT, Described, Json, list_of, maybe, object_schema
from modelhost.http.responses.conversations import CreateConversation, CreateItems, UpdateConversation
from modelhost.http.responses.items import DEFAULT_LIMIT, MOST
from modelhost.http.responses.openapi import OWN
from modelhost.http.responses.paths import (
    CANCEL,
    COMPACT,
    CONVERSATION,
    CONVERSATION_ITEM,
    CONVERSATION_ITEMS,
    CONVERSATIONS,
    INPUT_ITEMS,
    RESPONSE,
)
from modelhost.http.responses.stored import INCLUDED, CompactRequest

LONGEST_NUMBER: Final = 10**15 - 1
ITEM: Final = object_schema({"type": TEXT})
ITEM_LIST: Final = object_schema(
    {
        "object": {"const": "list"},
        "data": list_of(ITEM),
        "first_id": maybe("string"),
        "last_id": maybe("string"),
        "has_more": {"type": "boolean"},
    }
)
CONVERSATION_SCHEMA: Final = object_schema(
    {
        "id": TEXT,
        "object": {"const": "conversation"},
        "created_at": COUNTED,
        "metadata": {"type": "object", "additionalProperties": TEXT},
    }
)
COMPACTED: Final = object_schema(
    {
        "id": TEXT,
        "object": {"const": "response.compaction"},
        "created_at": COUNTED,
        "output": list_of(ITEM, "The messages of the user, and one item of type `compaction` for all others."),
        "usage": maybe("object"),
    }
)
RESPONSE_REF: Final = OWN.ref("Response")


def _in_query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


PAGING: Final = (
    _in_query(
        "limit", "Number of items.", {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}
    ),
    _in_query(
        "order", "`asc`: the oldest first; `desc`: the newest first.", {"enum": ["asc", "desc"], "default": "desc"}
    ),
    _in_query("after", "Id of the item behind which the page begins.", TEXT),
)
FOLLOWING: Final = (
    _in_query(
        "stream",
        "Whether to send the events of a background response, until it is finished.",
        {"type": "boolean", "default": False},
    ),
    _in_query(
        "starting_after",
        "Sequence number of the event behind which the stream begins.",
        {"type": "integer", "minimum": 0, "maximum": LONGEST_NUMBER},
    ),
    _in_query(
        "include",
        "No effect: a response is stored as it was made.",
        {"type": "array", "items": {"enum": sorted(INCLUDED)}},
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A method of a path to what is stored."""

    id: str
    summary: str
    answer: Json
    not_found: tuple[type[errors.ModelhostError], ...] = ()
    parameters: Sequence[Json] = ()
    body: type[BaseModel] | None = None
    needs_body: bool = True
    generates: bool = False


def _deleted(kind: str) -> dict[str, Any]:
    return object_schema({"id": TEXT, "object": {"const": kind}, "deleted": {"const": True}})


_RESPONSE: Final = (errors.ResponseNotFound,)
_CONVERSATION: Final = (errors.ConversationNotFound,)
_ITEM: Final = (errors.ConversationNotFound, errors.ItemNotFound)
DESCRIBED: Final[Mapping[tuple[str, str], _Stored]] = {
    (COMPACT, "post"): _Stored(
        id="compact",
        summary="Make a conversation shorter",
        answer=COMPACTED,
        not_found=(
            errors.ModelNotFound,
            errors.PreviousResponseNotFound,
            errors.ConversationNotFound,
            errors.ItemNotFound,
        ),
        body=CompactRequest,
        generates=True,
    ),
    (RESPONSE, "get"): _Stored(
        id="retrieve_response",
        summary="Get a stored response, or its events",
        answer=RESPONSE_REF,
        not_found=_RESPONSE,
        parameters=FOLLOWING,
    ),
    (RESPONSE, "delete"): _Stored(
        id="delete_response", summary="Delete a response", answer=_deleted("response"), not_found=_RESPONSE
    ),
    (CANCEL, "post"): _Stored(
        id="cancel_response", summary="Cancel a background response", answer=RESPONSE_REF, not_found=_RESPONSE
    ),
    (INPUT_ITEMS, "get"): _Stored(
        id="input_items",
        summary="List the items that a response answers",
        answer=ITEM_LIST,
        not_found=_RESPONSE,
        parameters=PAGING,
    ),
    (CONVERSATIONS, "post"): _Stored(
        id="create_conversation",
        summary="Create a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=(errors.ItemNotFound,),
        body=CreateConversation,
        needs_body=False,
    ),
    (CONVERSATION, "get"): _Stored(
        id="retrieve_conversation",
        summary="Get a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=_CONVERSATION,
    ),
    (CONVERSATION, "post"): _Stored(
        id="update_conversation",
        summary="Replace the metadata of a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=_CONVERSATION,
        body=UpdateConversation,
    ),
    (CONVERSATION, "delete"): _Stored(
        id="delete_conversation",
        summary="Delete a conversation",
        answer=_deleted("conversation.deleted"),
        not_found=_CONVERSATION,
    ),
    (CONVERSATION_ITEMS, "get"): _Stored(
        id="conversation_items",
        summary="List the items of a conversation",
        answer=ITEM_LIST,
        not_found=_ITEM,
        parameters=PAGING,
    ),
    (CONVERSATION_ITEMS, "post"): _Stored(
        id="add_conversation_items",
        summary="Add items to a conversation",
        answer=ITEM_LIST,
        not_found=(*_CONVERSATION, errors.ItemNotFound),
        body=CreateItems,
    ),
    (CONVERSATION_ITEM, "get"): _Stored(
        id="conversation_item", summary="Get an item of a conversation", answer=ITEM, not_found=_ITEM
    ),
    (CONVERSATION_ITEM, "delete"): _Stored(
        id="delete_conversation_item",
        summary="Delete an item of a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=_ITEM,
    ),
}
GENERATING: Final = (errors.EngineError, errors.QueueFull, errors.QueueTimeout, errors.InsufficientMemory)


def stored_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name."""
    return OWN.of((CompactRequest, CreateConversation, UpdateConversation, CreateItems))


def stored_paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for (path, method), each in DESCRIBED.items():
        paths.setdefault(path, {})[method] = _method(path, each)
    return paths


def _method(path: str, each: _Stored) -> dict[str, Any]:
    raised: list[type[errors.ModelhostError]] = [errors.InvalidRequest, errors.Unauthorized, *each.not_found]
    raised += [errors.DatabaseUnavailable, *([errors.RequestTooLarge] if each.body is not None else [])]
    raised += GENERATING if each.generates else ()
    described = Described(
        id=each.id,
        tag="responses",
        summary=each.summary,
        answer=each.answer,
        refusals=refusals(raised),
        request=each.body,
        needs_body=each.needs_body,
        streamed_as=EVENTS if each.parameters is FOLLOWING else None,
        parameters=[*_in_path(path), *each.parameters],
    )
    return OWN.method(described)


def _in_path(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID, "pattern": WITHOUT_CONTROLS}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]
