"""The description of Anthropic's API in ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from modelhost.http import openapi_parts as parts
from modelhost.http.anthropic.bodies import CountTokensRequest, MessagesRequest
from modelhost.http.anthropic.errors import OVERLOADED_STATUS, TYPES
from modelhost.http.anthropic.models import DEFAULT_LIMIT, MAX_LIMIT
from modelhost.http.anthropic.paths import COUNT, MESSAGES, VERSION
from modelhost.http.openapi_parts import Described, DoorSchemas, object_schema

OWN: Final = DoorSchemas("Anthropic")
REQUESTS: Final[Mapping[str, type[BaseModel]]] = {MESSAGES: MessagesRequest, COUNT: CountTokensRequest}
STATUSES_OF_MESSAGES: Final[Mapping[int, str]] = {
    **parts.STATUSES,
    **parts.STATUSES_IN_SESSIONS,
    **parts.STATUSES_OF_LOADING,
    OVERLOADED_STATUS: "The queue is full; see Retry-After",
}
VERSION_PARAMETER: Final[Mapping[str, Any]] = {
    "name": VERSION.decode(),
    "in": "header",
    "required": False,
    "description": "Any version: the answer is in Anthropic's format. A list then has pages, which the "
    f"query selects with `limit` (1 to {MAX_LIMIT:,}, by default {DEFAULT_LIMIT}), `after_id` and `before_id`.",
    "schema": {"type": "string", "examples": ["2023-06-01"]},
}
MESSAGE: Final = object_schema(
    {
        "id": parts.TEXT,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": parts.TEXT,
        "content": {
            "type": "array",
            "items": object_schema({"type": parts.TEXT}),
            "description": "Blocks of type `text`, `thinking`, `tool_use`, `mcp_tool_use` and `mcp_tool_result`.",
        },
        "stop_reason": parts.TEXT,
        "stop_sequence": parts.maybe("string"),
        "usage": object_schema({"input_tokens": parts.COUNTED, "output_tokens": parts.COUNTED}),
    },
    description="A message. A stream has the same as events.",
)
COUNTED_TOKENS: Final = object_schema(
    {"input_tokens": parts.COUNTED, "estimated": {"const": True, "description": "The count is an estimate."}},
    "estimated",
)
MODEL: Final = object_schema(
    {
        "type": {"const": "model"},
        "id": parts.TEXT,
        "display_name": parts.TEXT,
        "created_at": {"type": "string", "format": "date-time"},
        "lifecycle": {"const": "active"},
        "max_input_tokens": parts.maybe("integer"),
        "max_tokens": parts.maybe("integer"),
    },
    description="A model, as Anthropic describes one.",
)
OWN_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Error": object_schema(
        {
            "type": {"const": "error"},
            "error": object_schema(
                {
                    "type": {"enum": sorted({*TYPES.values(), "api_error"})},
                    "message": parts.TEXT,
                    "code": {"type": "string", "description": "The host's stable code."},
                    "param": parts.maybe("string"),
                    "source": parts.SOURCE,
                    "details": {"type": "object"},
                }
            ),
        },
        description="An error in Anthropic's format.",
    ),
    "Model": MODEL,
    "ModelPage": object_schema(
        {
            "data": parts.list_of(OWN.ref("Model")),
            "has_more": {"type": "boolean"},
            "first_id": parts.maybe("string"),
            "last_id": parts.maybe("string"),
        },
        description="A page of models.",
    ),
}


def anthropic_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name."""
    return OWN.of(REQUESTS.values()) | {OWN.prefix + name: schema for name, schema in OWN_SCHEMAS.items()}


def anthropic_paths() -> dict[str, Any]:
    messages = Described(
        id="messages",
        summary="Answer a conversation, in Anthropic's format",
        request=MessagesRequest,
        answer=MESSAGE,
        streamed_as=parts.EVENTS,
        refusals=parts.refused(STATUSES_OF_MESSAGES, f"{OWN.prefix}Error"),
        parameters=parts.SESSION_PARAMETERS,
    )
    count = Described(
        id="count_tokens",
        summary="Count the tokens of a conversation, in Anthropic's format",
        request=CountTokensRequest,
        answer=COUNTED_TOKENS,
        refusals=parts.refused(parts.STATUSES, f"{OWN.prefix}Error"),
    )
    return {MESSAGES: {"post": OWN.method(messages)}, COUNT: {"post": OWN.method(count)}}


def add_versions(paths: dict[str, Any]) -> None:
    """Add to the descriptions of models in ``paths`` what clients of Anthropic's API get there."""
    for path, answer in (("/v1/models", "ModelPage"), ("/v1/models/{model_id}", "Model")):
        described = paths[path]["get"]
        described["parameters"] = [*described.get("parameters", ()), VERSION_PARAMETER]
        for status, response in described["responses"].items():
            theirs = OWN.ref(answer if status == "200" else "Error")
            content = response["content"]["application/json"]
            content["schema"] = {"anyOf": [content["schema"], theirs]}
        refusal = {
            "description": f"With {VERSION.decode()}: {parts.STATUSES[400]}",
            "content": parts.in_json(OWN.ref("Error")),
        }
        described["responses"] |= {"400": refusal} if answer == "ModelPage" else {}
