"""The description of the Responses API in ``/openapi.json``: what generates or counts, then what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from modelhost import errors
from modelhost.config.value_types import LONGEST_ID, WITHOUT_CONTROLS
from modelhost.http import openapi_parts as parts
from modelhost.http.admin.openapi import refusals
from modelhost.http.openapi_parts import Described, DoorSchemas, Json, object_schema
from modelhost.http.responses import paths
from modelhost.http.responses.bodies import CountInputTokens, CreateResponse
from modelhost.http.responses.conversations import CreateConversation, CreateItems, UpdateConversation
from modelhost.http.responses.items import DEFAULT_LIMIT, MOST
from modelhost.http.responses.stored import INCLUDED, CompactRequest

OWN: Final = DoorSchemas("Responses")
REQUESTS: Final[Mapping[str, type[BaseModel]]] = {paths.RESPONSES: CreateResponse, paths.INPUT_TOKENS: CountInputTokens}
STATUSES_OF_COUNTS: Final[Mapping[int, str]] = {
    **parts.STATUSES,
    404: "No model, response, conversation or item of that name",
}
STATUSES_OF_RESPONSES: Final[Mapping[int, str]] = {
    **STATUSES_OF_COUNTS,
    **parts.STATUSES_IN_SESSIONS,
    **parts.STATUSES_OF_LOADING,
    503: "No capacity now (see Retry-After), or something stored without a database",
}
MAYBE_OBJECT: Final = parts.maybe("object")
RESPONSE_SCHEMA: Final = object_schema(
    {
        "id": parts.TEXT,
        "object": {"const": "response"},
        "created_at": parts.COUNTED,
        "completed_at": parts.maybe("integer"),
        "status": {"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]},
        "model": parts.TEXT,
        "output": {
            "type": "array",
            "items": object_schema({"type": parts.TEXT}),
            "description": "Items of type `message`, `reasoning`, `function_call`, `custom_tool_call`, `mcp_call`, "
            "`mcp_list_tools`, `mcp_approval_request` and `compaction`.",
        },
        "error": MAYBE_OBJECT,
        "incomplete_details": MAYBE_OBJECT,
        "previous_response_id": parts.maybe("string"),
        "metadata": {"type": "object", "additionalProperties": parts.TEXT},
        "usage": {
            "anyOf": [
                object_schema(
                    {
                        "input_tokens": parts.COUNTED,
                        "input_tokens_details": object_schema({"cached_tokens": parts.COUNTED}),
                        "output_tokens": parts.COUNTED,
                        "output_tokens_details": object_schema({"reasoning_tokens": parts.COUNTED}),
                        "total_tokens": parts.COUNTED,
                    }
                ),
                {"type": "null"},
            ]
        },
    },
    description="A response. A stream tells of the same in events.",
)
COUNT: Final = object_schema(
    {
        "object": {"const": "response.input_tokens"},
        "input_tokens": parts.COUNTED,
        "estimated": {"const": True, "description": "The count is an estimate."},
    },
    "estimated",
)


def responses_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name."""
    return OWN.of(REQUESTS.values()) | {f"{OWN.prefix}Response": RESPONSE_SCHEMA}


def responses_paths() -> dict[str, Any]:
    responses = Described(
        id="responses",
        summary="Create a response",
        request=CreateResponse,
        answer=OWN.ref("Response"),
        streamed_as=parts.EVENTS,
        refusals=parts.refused(STATUSES_OF_RESPONSES),
        parameters=parts.SESSION_PARAMETERS,
    )
    count = Described(
        id="input_tokens",
        summary="Count the tokens of a response's input",
        request=CountInputTokens,
        answer=COUNT,
        refusals=parts.refused(STATUSES_OF_COUNTS),
    )
    return {paths.RESPONSES: {"post": OWN.method(responses)}, paths.INPUT_TOKENS: {"post": OWN.method(count)}}


LONGEST_NUMBER: Final = 10**15 - 1
ITEM: Final = object_schema({"type": parts.TEXT})
ITEM_LIST: Final = object_schema(
    {
        "object": {"const": "list"},
        "data": parts.list_of(ITEM),
        "first_id": parts.maybe("string"),
        "last_id": parts.maybe("string"),
        "has_more": {"type": "boolean"},
    }
)
CONVERSATION_SCHEMA: Final = object_schema(
    {
        "id": parts.TEXT,
        "object": {"const": "conversation"},
        "created_at": parts.COUNTED,
        "metadata": {"type": "object", "additionalProperties": parts.TEXT},
    }
)
COMPACTED: Final = object_schema(
    {
        "id": parts.TEXT,
        "object": {"const": "response.compaction"},
        "created_at": parts.COUNTED,
        "output": parts.list_of(ITEM, "The messages of the user, and one item of type `compaction` for all others."),
        "usage": parts.maybe("object"),
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
    _in_query("after", "Id of the item behind which the page begins.", parts.TEXT),
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
    return object_schema({"id": parts.TEXT, "object": {"const": kind}, "deleted": {"const": True}})


_RESPONSE: Final = (errors.ResponseNotFound,)
_CONVERSATION: Final = (errors.ConversationNotFound,)
_ITEM: Final = (errors.ConversationNotFound, errors.ItemNotFound)
DESCRIBED: Final[Mapping[tuple[str, str], _Stored]] = {
    (paths.COMPACT, "post"): _Stored(
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
    (paths.RESPONSE, "get"): _Stored(
        id="retrieve_response",
        summary="Get a stored response, or its events",
        answer=RESPONSE_REF,
        not_found=_RESPONSE,
        parameters=FOLLOWING,
    ),
    (paths.RESPONSE, "delete"): _Stored(
        id="delete_response", summary="Delete a response", answer=_deleted("response"), not_found=_RESPONSE
    ),
    (paths.CANCEL, "post"): _Stored(
        id="cancel_response", summary="Cancel a background response", answer=RESPONSE_REF, not_found=_RESPONSE
    ),
    (paths.INPUT_ITEMS, "get"): _Stored(
        id="input_items",
        summary="List the items that a response answers",
        answer=ITEM_LIST,
        not_found=_RESPONSE,
        parameters=PAGING,
    ),
    (paths.CONVERSATIONS, "post"): _Stored(
        id="create_conversation",
        summary="Create a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=(errors.ItemNotFound,),
        body=CreateConversation,
        needs_body=False,
    ),
    (paths.CONVERSATION, "get"): _Stored(
        id="retrieve_conversation",
        summary="Get a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=_CONVERSATION,
    ),
    (paths.CONVERSATION, "post"): _Stored(
        id="update_conversation",
        summary="Replace the metadata of a conversation",
        answer=CONVERSATION_SCHEMA,
        not_found=_CONVERSATION,
        body=UpdateConversation,
    ),
    (paths.CONVERSATION, "delete"): _Stored(
        id="delete_conversation",
        summary="Delete a conversation",
        answer=_deleted("conversation.deleted"),
        not_found=_CONVERSATION,
    ),
    (paths.CONVERSATION_ITEMS, "get"): _Stored(
        id="conversation_items",
        summary="List the items of a conversation",
        answer=ITEM_LIST,
        not_found=_ITEM,
        parameters=PAGING,
    ),
    (paths.CONVERSATION_ITEMS, "post"): _Stored(
        id="add_conversation_items",
        summary="Add items to a conversation",
        answer=ITEM_LIST,
        not_found=(*_CONVERSATION, errors.ItemNotFound),
        body=CreateItems,
    ),
    (paths.CONVERSATION_ITEM, "get"): _Stored(
        id="conversation_item", summary="Get an item of a conversation", answer=ITEM, not_found=_ITEM
    ),
    (paths.CONVERSATION_ITEM, "delete"): _Stored(
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
    found: dict[str, Any] = {}
    for (path, method), each in DESCRIBED.items():
        found.setdefault(path, {})[method] = _method(path, each)
    return found


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
        streamed_as=parts.EVENTS if each.parameters is FOLLOWING else None,
        parameters=[*_in_path(path), *each.parameters],
    )
    return OWN.method(described)


def _in_path(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID, "pattern": WITHOUT_CONTROLS}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]
