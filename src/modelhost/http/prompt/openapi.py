"""The description of prompt paths in ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.http.openapi_parts import STATUSES, in_json
from modelhost.http.prompt.endpoint import NOT_BLANK

OWN_STATUSES: Final[Mapping[str, str]] = {
    **{str(status): STATUSES[status] for status in (400, 401, 413)},
    "405": "Another method than POST",
    "500": "Everything else",
}


def prompt_paths(paths: Sequence[str]) -> dict[str, Any]:
    return {path: {"post": _post("prompt" if not number else f"prompt_{number}")} for number, path in enumerate(paths)}


def _post(operation_id: str) -> dict[str, Any]:
    error = in_json(_object("Error", "What is wrong."))
    return {
        "tags": ["models"],
        "summary": "Answer one prompt, in LLM-Server's format",
        "operationId": operation_id,
        "requestBody": {
            "required": True,
            "content": in_json(_object("prompt", "The prompt.", pattern=NOT_BLANK)),
        },
        "responses": {
            "200": {"description": "The answer", "content": in_json(_object("response", "The answer."))},
            **{status: {"description": text, "content": error} for status, text in OWN_STATUSES.items()},
        },
    }


def _object(field: str, description: str, **more: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field: {"type": "string", "description": description, **more}},
        "required": [field],
        "additionalProperties": False,
    }
