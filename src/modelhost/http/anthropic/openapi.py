"""The description of Anthropic's API in ``/openapi.json``.

Its schemas have names of their own there, since other doors have messages and tools, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from modelhost.http.anthropic.bodies import CountTokensRequest, MessagesRequest
from modelhost.http.anthropic.errors import OVERLOADED_STATUS, TYPES
from modelhost.http.anthropic.models import DEFAULT_LIMIT, MAX_LIMIT
from modelhost.http.anthropic.paths import COUNT, MESSAGES, VERSION

PREFIX: Final = "Anthropic"
SCHEMAS: Final = "#/components/schemas/"
ERROR: Final = f"{PREFIX}Error"
SUMMARIES: Final[Mapping[str, str]] = {
    MESSAGES: "Answer a conversation, in Anthropic's format",
    COUNT: "Count the tokens of a conversation, in Anthropic's format",
}
REQUESTS: Final[Mapping[str, type[BaseModel]]] = {MESSAGES: MessagesRequest, COUNT: CountTokensRequest}
STATUSES: Final[Mapping[int, str]] = {
    400: "The request cannot be served as it is",
    401: "The API key is missing or wrong",
    404: "No model of that name",
    413: "The body is too large",
    502: "The worker of the model failed",
    503: "No capacity now; see Retry-After",
}
STATUSES_OF_MESSAGES: Final[Mapping[int, str]] = {
    409: "Another host has the session",
    503: "No capacity now (see Retry-After), or a session without a database",
    504: "The model was not ready in time",
    507: "The model does not fit into memory, whatever is unloaded",
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
TEXT: Final[Mapping[str, Any]] = {"type": "string"}
COUNTED: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 0}


def _object(properties: Mapping[str, Any], *optional: str, description: str | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        **({} if description is None else {"description": description}),
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


def _maybe(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    MESSAGES: _object(
        {
            "id": TEXT,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": TEXT,
            "content": {
                "type": "array",
                "items": _object({"type": TEXT}),
                "description": "Blocks of type `text`, `thinking`, `tool_use`, `mcp_tool_use` and `mcp_tool_result`.",
            },
            "stop_reason": TEXT,
            "stop_sequence": _maybe("string"),
            "usage": _object({"input_tokens": COUNTED, "output_tokens": COUNTED}),
        },
        description="A message. A stream has the same as events.",
    ),
    COUNT: _object(
        {"input_tokens": COUNTED, "estimated": {"const": True, "description": "The count is an estimate."}},
        "estimated",
    ),
}
MODEL: Final = _object(
    {
        "type": {"const": "model"},
        "id": TEXT,
        "display_name": TEXT,
        "created_at": {"type": "string", "format": "date-time"},
        "lifecycle": {"const": "active"},
        "max_input_tokens": _maybe("integer"),
        "max_tokens": _maybe("integer"),
    },
    description="A model, as Anthropic describes one.",
)
OWN_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Error": _object(
        {
            "type": {"const": "error"},
            "error": _object(
                {
                    "type": {"enum": sorted({*TYPES.values(), "api_error"})},
                    "message": TEXT,
                    "code": {"type": "string", "description": "The host's stable code."},
                    "param": _maybe("string"),
                    "source": {"type": "object", "description": "Who refused: the host, or the worker of a model."},
                    "details": {"type": "object"},
                }
            ),
        },
        description="An error in Anthropic's format.",
    ),
    "Model": MODEL,
    "ModelPage": _object(
        {
            "data": {"type": "array", "items": {"$ref": f"{SCHEMAS}{PREFIX}Model"}},
            "has_more": {"type": "boolean"},
            "first_id": _maybe("string"),
            "last_id": _maybe("string"),
        },
        description="A page of models.",
    ),
}


def anthropic_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name."""
    template = SCHEMAS + PREFIX + "{model}"
    _, found = models_json_schema([(model, "validation") for model in REQUESTS.values()], ref_template=template)
    return {PREFIX + name: schema for name, schema in (found["$defs"] | OWN_SCHEMAS).items()}


def anthropic_paths(session_parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the description of each path; those that answer in a session have ``session_parameters``."""
    return {path: {"post": _post(path, session_parameters)} for path in REQUESTS}


def _post(path: str, session_parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    is_answer = path == MESSAGES
    statuses = {**STATUSES, **(STATUSES_OF_MESSAGES if is_answer else {})}
    content = _json(ANSWERS[path])
    if is_answer:
        content["text/event-stream"] = {"schema": TEXT}
    return {
        "tags": ["models"],
        "summary": SUMMARIES[path],
        "operationId": "messages" if is_answer else "count_tokens",
        **({"parameters": list(session_parameters)} if is_answer else {}),
        "requestBody": {"required": True, "content": _json(_ref(REQUESTS[path].__name__))},
        "responses": {
            "200": {"description": "The answer", "content": content},
            **{
                str(status): {"description": statuses[status], "content": _json(_ref("Error"))}
                for status in sorted(statuses)
            },
        },
    }


def add_versions(paths: dict[str, Any]) -> None:
    """Add to the descriptions of models in ``paths`` what clients of Anthropic's API get there."""
    for path, answer in (("/v1/models", "ModelPage"), ("/v1/models/{model_id}", "Model")):
        described = paths[path]["get"]
        described["parameters"] = [*described.get("parameters", ()), VERSION_PARAMETER]
        for status, response in described["responses"].items():
            theirs = _ref(answer if status == "200" else "Error")
            content = response["content"]["application/json"]
            content["schema"] = {"anyOf": [content["schema"], theirs]}
        refusal = {"description": f"With {VERSION.decode()}: {STATUSES[400]}", "content": _json(_ref("Error"))}
        described["responses"] |= {"400": refusal} if answer == "ModelPage" else {}


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"{SCHEMAS}{PREFIX}{name}"}
