"""The description of the Responses API in ``/openapi.json``, as far as it generates or counts.

Its schemas have names of their own there, since other doors have messages and tools, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from modelhost.http.responses.bodies import CountInputTokens, CreateResponse
from modelhost.http.responses.paths import INPUT_TOKENS, RESPONSES

PREFIX: Final = "Responses"
SCHEMAS: Final = "#/components/schemas/"
REQUESTS: Final[Mapping[str, type[BaseModel]]] = {RESPONSES: CreateResponse, INPUT_TOKENS: CountInputTokens}
SUMMARIES: Final[Mapping[str, str]] = {
    RESPONSES: "Create a response",
    INPUT_TOKENS: "Count the tokens of a response's input",
}
OPERATIONS: Final[Mapping[str, str]] = {RESPONSES: "responses", INPUT_TOKENS: "input_tokens"}
STATUSES: Final[Mapping[int, str]] = {
    400: "The request cannot be served as it is",
    401: "The API key is missing or wrong",
    404: "No model, response, conversation or item of that name",
    413: "The body is too large",
    502: "The worker of the model failed",
    503: "No capacity now; see Retry-After",
}
STATUSES_OF_RESPONSES: Final[Mapping[int, str]] = {
    409: "Another host has the session",
    503: "No capacity now (see Retry-After), or something stored without a database",
    504: "The model was not ready in time",
    507: "The model does not fit into memory, whatever is unloaded",
}
TEXT: Final[Mapping[str, Any]] = {"type": "string"}
COUNTED: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 0}
MAYBE_OBJECT: Final[Mapping[str, Any]] = {"type": ["object", "null"]}


def object_schema(properties: Mapping[str, Any], *optional: str, description: str | None = None) -> dict[str, Any]:
    """Return the schema of an object whose ``properties`` are required, except the ``optional`` ones."""
    return {
        "type": "object",
        **({} if description is None else {"description": description}),
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


RESPONSE: Final = object_schema(
    {
        "id": TEXT,
        "object": {"const": "response"},
        "created_at": COUNTED,
        "completed_at": {"type": ["integer", "null"]},
        "status": {"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]},
        "model": TEXT,
        "output": {
            "type": "array",
            "items": object_schema({"type": TEXT}),
            "description": "Items of type `message`, `reasoning`, `function_call`, `custom_tool_call`, `mcp_call`, "
            "`mcp_list_tools`, `mcp_approval_request` and `compaction`.",
        },
        "error": MAYBE_OBJECT,
        "incomplete_details": MAYBE_OBJECT,
        "previous_response_id": {"type": ["string", "null"]},
        "metadata": {"type": "object", "additionalProperties": TEXT},
        "usage": {
            "anyOf": [
                object_schema(
                    {
                        "input_tokens": COUNTED,
                        "input_tokens_details": object_schema({"cached_tokens": COUNTED}),
                        "output_tokens": COUNTED,
                        "output_tokens_details": object_schema({"reasoning_tokens": COUNTED}),
                        "total_tokens": COUNTED,
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
        "input_tokens": COUNTED,
        "estimated": {"const": True, "description": "The count is an estimate."},
    },
    "estimated",
)
ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    RESPONSES: {"$ref": f"{SCHEMAS}{PREFIX}Response"},
    INPUT_TOKENS: COUNT,
}


def responses_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name."""
    template = SCHEMAS + PREFIX + "{model}"
    _, found = models_json_schema([(model, "validation") for model in REQUESTS.values()], ref_template=template)
    return {**{PREFIX + name: schema for name, schema in found["$defs"].items()}, f"{PREFIX}Response": RESPONSE}


def responses_paths(session_parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the description of each path; the one that answers in a session has ``session_parameters``."""
    return {path: {"post": _post(path, session_parameters)} for path in REQUESTS}


def _post(path: str, session_parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    is_answer = path == RESPONSES
    statuses = {**STATUSES, **(STATUSES_OF_RESPONSES if is_answer else {})}
    content = _json(ANSWERS[path])
    if is_answer:
        content["text/event-stream"] = {"schema": TEXT}
    return {
        "tags": ["models"],
        "summary": SUMMARIES[path],
        "operationId": OPERATIONS[path],
        **({"parameters": list(session_parameters)} if is_answer else {}),
        "requestBody": {
            "required": True,
            "content": _json({"$ref": f"{SCHEMAS}{PREFIX}{REQUESTS[path].__name__}"}),
        },
        "responses": {
            "200": {"description": "The answer", "content": content},
            **{
                str(status): {"description": statuses[status], "content": _json({"$ref": f"{SCHEMAS}Error"})}
                for status in sorted(statuses)
            },
        },
    }


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
