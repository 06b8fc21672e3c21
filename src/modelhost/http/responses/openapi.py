"""The description of the Responses API in ``/openapi.json``, as far as it generates or counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from modelhost.http import openapi_parts as parts
from modelhost.http.openapi_parts import Described, DoorSchemas, object_schema
from modelhost.http.responses.bodies import CountInputTokens, CreateResponse
from modelhost.http.responses.paths import INPUT_TOKENS, RESPONSES

OWN: Final = DoorSchemas("Responses")
REQUESTS: Final[Mapping[str, type[BaseModel]]] = {RESPONSES: CreateResponse, INPUT_TOKENS: CountInputTokens}
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
RESPONSE: Final = object_schema(
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
    return OWN.of(REQUESTS.values()) | {f"{OWN.prefix}Response": RESPONSE}


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
    return {RESPONSES: {"post": OWN.method(responses)}, INPUT_TOKENS: {"post": OWN.method(count)}}
