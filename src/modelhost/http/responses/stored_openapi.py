"""The description in ``/openapi.json`` of what is stored of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from modelhost import errors
from modelhost.config.value_types import LONGEST_ID, WITHOUT_CONTROLS
from modelhost.http.admin.openapi import refusals
from modelhost.http.responses.conversations import CreateConversation, CreateItems, UpdateConversation
from modelhost.http.responses.openapi import COUNTED, PREFIX, SCHEMAS, TEXT, object_schema
from modelhost.http.responses.paging import DEFAULT_LIMIT, MOST
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
MAYBE_TEXT: Final[Mapping[str, Any]] = {"type": ["string", "null"]}
ITEM_LIST: Final = object_schema(
    {
        "object": {"const": "list"},
        "data": {"type": "array", "items": ITEM},
        "first_id": MAYBE_TEXT,
        "last_id": MAYBE_TEXT,
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
        "output": {
            "type": "array",
            "items": ITEM,
            "description": "The messages of the user, and one item of type `compaction` for all others.",
        },
        "usage": {"type": ["object", "null"]},
    }
)
RESPONSE_REF: Final[Mapping[str, Any]] = {"$ref": f"{SCHEMAS}{PREFIX}Response"}
MODELS: Final[Sequence[type[BaseModel]]] = (CompactRequest, CreateConversation, UpdateConversation, CreateItems)
PAGING: Final[Sequence[Mapping[str, Any]]] = (
    {
        "name": "limit",
        "in": "query",
        "description": "Number of items.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT},
    },
    {
        "name": "order",
        "in": "query",
        "description": "`asc`: the oldest first; `desc`: the newest first.",
        "schema": {"enum": ["asc", "desc"], "default": "desc"},
    },
    {"name": "after", "in": "query", "description": "Id of the item behind which the page begins.", "schema": TEXT},
)
FOLLOWING: Final[Sequence[Mapping[str, Any]]] = (
    {
        "name": "stream",
        "in": "query",
        "description": "Whether to send the events of a background response, until it is finished.",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "starting_after",
        "in": "query",
        "description": "Sequence number of the event behind which the stream begins.",
        "schema": {"type": "integer", "minimum": 0, "maximum": LONGEST_NUMBER},
    },
    {
        "name": "include",
        "in": "query",
        "description": "No effect: a response is stored as it was made.",
        "schema": {"type": "array", "items": {"enum": sorted(INCLUDED)}},
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """What is said of a method of a path."""

    id: str
    summary: str
    answer: Mapping[str, Any]
    not_found: tuple[type[errors.ModelhostError], ...] = ()
    parameters: Sequence[Mapping[str, Any]] = ()
    body: type[BaseModel] | None = None
    needs_body: bool = True
    generates: bool = False


def _deleted(kind: str) -> dict[str, Any]:
    return object_schema({"id": TEXT, "object": {"const": kind}, "deleted": {"const": True}})


_RESPONSE: Final = (errors.ResponseNotFound,)
_CONVERSATION: Final = (errors.ConversationNotFound,)
_ITEM: Final = (errors.ConversationNotFound, errors.ItemNotFound)
DESCRIBED: Final[Mapping[tuple[str, str], _Described]] = {
    (COMPACT, "post"): _Described(
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
    (RESPONSE, "get"): _Described(
        id="retrieve_response",
        summary="Get a stored response, or its events",
        answer=RESPONSE_REF,
        not_found=_RESPONSE,
        parameters=FOLLOWING,
    ),
    (RESPONSE, "delete"): _Described(
        id="delete_response", summary="Delete a response", answer=_deleted("response"), not_found=_RESPONSE
    ),
    (CANCEL, "post"): _Described(
        id="cancel_response", summary="Cancel a background response", answer=RESPONSE_REF, not_found=_RESPONSE
    ),
    (INPUT_ITEMS, "get"): _Described(
        id="input_items",
        summary="List the items that a response answers",
        answer=ITEM_LIST,
        not_found=_RESPONSE,
        parameters=PAGING,
    ),
    (CONVERSATIONS, "post"): _Described(
        id="create_conversation",
        summary="Create a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=(errors.ItemNotFound,),
        body=CreateConversation,
        needs_body=False,
    ),
    (CONVERSATION, "get"): _Described(
        id="retrieve_conversation",
        summary="Get a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=_CONVERSATION,
    ),
    (CONVERSATION, "post"): _Described(
        id="update_conversation",
        summary="Replace the metadata of a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=_CONVERSATION,
        body=UpdateConversation,
    ),
    (CONVERSATION, "delete"): _Described(
        id="delete_conversation",
        summary="Delete a conversation",
        answer=_deleted("conversation.deleted"),
        not_found=_CONVERSATION,
    ),
    (CONVERSATION_ITEMS, "get"): _Described(
        id="conversation_items",
        summary="List the items of a conversation",
        answer=ITEM_LIST,
        not_found=_ITEM,
        parameters=PAGING,
    ),
    (CONVERSATION_ITEMS, "post"): _Described(
        id="add_conversation_items",
        summary="Add items to a conversation",
        answer=ITEM_LIST,
        not_found=(*_CONVERSATION, errors.ItemNotFound),
        body=CreateItems,
    ),
    (CONVERSATION_ITEM, "get"): _Described(
        id="conversation_item", summary="Get an item of a conversation", answer=ITEM, not_found=_ITEM
    ),
    (CONVERSATION_ITEM, "delete"): _Described(
        id="delete_conversation_item",
        summary="Delete an item of a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=_ITEM,
    ),
}
GENERATING: Final = (errors.EngineError, errors.QueueFull, errors.QueueTimeout, errors.InsufficientMemory)


def stored_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name."""
    template = SCHEMAS + PREFIX + "{model}"
    _, found = models_json_schema([(model, "validation") for model in MODELS], ref_template=template)
    return {PREFIX + name: schema for name, schema in found["$defs"].items()}


def stored_paths() -> dict[str, Any]:
    """Return the description of each path."""
    paths: dict[str, Any] = {}
    for (path, method), each in DESCRIBED.items():
        paths.setdefault(path, {})[method] = _operation(path, each)
    return paths


def _operation(path: str, each: _Described) -> dict[str, Any]:
    raised: list[type[errors.ModelhostError]] = [errors.InvalidRequest, errors.Unauthorized, *each.not_found]
    raised += [errors.DatabaseUnavailable, *([errors.RequestTooLarge] if each.body is not None else [])]
    raised += GENERATING if each.generates else ()
    content = _json(each.answer)
    if each.parameters is FOLLOWING:
        content["text/event-stream"] = {"schema": TEXT}
    described: dict[str, Any] = {
        "tags": ["responses"],
        "summary": each.summary,
        "operationId": each.id,
        "responses": {"200": {"description": "The answer", "content": content}, **refusals(raised)},
    }
    if parameters := [*_in_path(path), *map(dict, each.parameters)]:
        described["parameters"] = parameters
    if each.body is not None:
        reference = {"$ref": f"{SCHEMAS}{PREFIX}{each.body.__name__}"}
        described["requestBody"] = {"required": each.needs_body, "content": _json(reference)}
    return described


def _in_path(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID, "pattern": WITHOUT_CONTROLS}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": dict(schema)}}
