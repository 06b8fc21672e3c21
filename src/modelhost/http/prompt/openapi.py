"""The description of prompt paths in ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.http.prompt.endpoint import NOT_BLANK

STATUSES: Final[Mapping[str, str]] = {
    "400": "The request cannot be served as it is",
    "401": "The API key is missing or wrong",
    "405": "Another method than POST",
    "413": "The body is too large",
    "500": "Everything else",
}


def prompt_paths(paths: Sequence[str]) -> dict[str, Any]:
    """Return the part of the document for ``paths``."""
    return {path: {"post": _post("prompt" if not number else f"prompt_{number}")} for number, path in enumerate(paths)}


def _post(operation_id: str) -> dict[str, Any]:
    error = _json(_object("Error", "What is wrong."))
    return {
        "tags": ["models"],
        "summary": "Answer one prompt, in LLM-Server's format",
        "operationId": operation_id,
        "requestBody": {
            "required": True,
            "content": _json(_object("prompt", "The prompt.", pattern=NOT_BLANK)),
        },
        "responses": {
            "200": {"description": "The answer", "content": _json(_object("response", "The answer."))},
            **{status: {"description": text, "content": error} for status, text in STATUSES.items()},
        },
    }


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(field: str, description: str, **more: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field: {"type": "string", "description": description, **more}},
        "required": [field],
        "additionalProperties": False,
    }
