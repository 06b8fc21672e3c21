"""The part of ``/openapi.json`` about images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.chat.parsing.image_form import ImageEditRequest, ImageGenerationRequest
from modelhost.http.openai.images.paths import EDITS, FILES, GENERATIONS, VARIATIONS
from modelhost.http.openapi_parts import in_form

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_BYTES: Final = {"type": "string", "format": "binary"}
_DATUM: Final = {
    "type": "object",
    "properties": {"b64_json": _TEXT, "url": _TEXT, "seed": _NUMBER},
    "required": ["seed"],
}
_ANSWER: Final = {
    "type": "object",
    "properties": {
        "created": _NUMBER,
        "background": _TEXT,
        "data": {"type": "array", "items": _DATUM},
        "output_format": _TEXT,
        "size": _TEXT,
        "usage": {"type": "object"},
    },
    "required": ["created", "data", "output_format", "size", "usage"],
}
_IMAGE: Final = {
    "anyOf": [
        {"type": "string", "description": "A data URL or base64."},
        {"type": "object", "properties": {"image_url": _TEXT}, "required": ["image_url"]},
    ]
}


def image_paths(refusals: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the document; ``refusals`` are the responses of errors, by status."""
    edit = ImageEditRequest.model_json_schema()
    in_json = {
        **edit,
        "properties": {"image": _IMAGE, "images": {"type": "array", "items": _IMAGE}, "mask": _IMAGE}
        | edit["properties"],
    }
    as_form = {
        **edit,
        "properties": {"image": _BYTES, "mask": _BYTES, **in_form(edit["properties"])},
        "required": ["image", *edit["required"]],
    }
    generation = {"application/json": {"schema": ImageGenerationRequest.model_json_schema()}}
    edits = {"multipart/form-data": {"schema": as_form}, "application/json": {"schema": in_json}}
    return {
        GENERATIONS: {"post": _post("images", "Make images of a text", generation, refusals)},
        EDITS: {"post": _post("image_edits", "Edit an image, or a part of it", edits, refusals)},
        VARIATIONS: {
            "post": {
                "tags": ["models"],
                "summary": "Refused: variations are not supported",
                "operationId": "image_variations",
                "responses": {status: refusals[status] for status in ("400", "401")},
            }
        },
        FILES + "/{name}": {"get": _file(refusals)},
    }


def _post(operation_id: str, summary: str, content: Mapping[str, Any], refusals: Mapping[str, Any]) -> dict[str, Any]:
    answer = {"application/json": {"schema": _ANSWER}, "text/event-stream": {"schema": _TEXT}}
    return {
        "tags": ["models"],
        "summary": summary,
        "operationId": operation_id,
        "requestBody": {"required": True, "content": dict(content)},
        "responses": {"200": {"description": "The images", "content": answer}, **refusals},
    }


def _file(refusals: Mapping[str, Any]) -> dict[str, Any]:
    types = ("image/png", "image/jpeg", "image/webp")
    return {
        "tags": ["models"],
        "summary": "Get an image that an answer names by URL",
        "operationId": "image_file",
        "security": [],
        "parameters": [
            {"name": "name", "in": "path", "required": True, "schema": _TEXT},
            *({"name": name, "in": "query", "required": True, "schema": _TEXT} for name in ("expires", "signature")),
        ],
        "responses": {
            "200": {"description": "The image", "content": {kind: {"schema": _BYTES} for kind in types}},
            "404": {**refusals["404"], "description": "No such image, or the URL has expired"},
        },
    }
