"""The part of ``/openapi.json`` about sound that no request body describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.chat.parsing.transcription_form import TranscriptionForm
from modelhost.http.openai.audio.paths import MODELS, TRANSCRIPTIONS, TRANSLATIONS, VOICES

_TEXT: Final = {"type": "string"}
_NAMED: Final = {"type": "object", "properties": {"id": _TEXT, "name": _TEXT}, "required": ["id", "name"]}
_MODELS: Final = {
    "type": "object",
    "properties": {"object": {"const": "list"}, "models": {"type": "array", "items": _NAMED}},
    "required": ["object", "models"],
}
_LIST: Final = {
    "type": "object",
    "properties": {"object": {"const": "list"}, "model": _TEXT, "voices": {"type": "array", "items": _NAMED}},
    "required": ["object", "model", "voices"],
}
_MODEL: Final = {
    "name": "model",
    "in": "query",
    "required": False,
    "description": "Default: the active model if it speaks, else the first that does.",
    "schema": _TEXT,
}


def audio_paths(refusals: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the document; ``refusals`` are the responses of errors, by status."""
    described = {"description": "The voices, the default first", "content": {"application/json": {"schema": _LIST}}}
    without_body = {status: refusal for status, refusal in refusals.items() if status != "413"}
    voices = {
        "tags": ["models"],
        "summary": "List the voices of a model, which is loaded if it is not",
        "operationId": "voices",
        "parameters": [_MODEL],
        "responses": {"200": described, **without_body},
    }
    models = {
        "tags": ["models"],
        "summary": "List the models that speak, in the shape that Open WebUI reads",
        "operationId": "speaking_models",
        "responses": {
            "200": {"description": "The models", "content": {"application/json": {"schema": _MODELS}}},
            **without_body,
        },
    }
    return {
        MODELS: {"get": models},
        VOICES: {"get": voices},
        TRANSCRIPTIONS: {"post": _transcript("transcription", "Transcribe sound", refusals)},
        TRANSLATIONS: {"post": _transcript("translation", "Translate sound to English text", refusals)},
    }


def _transcript(operation_id: str, summary: str, refusals: Mapping[str, Any]) -> dict[str, Any]:
    schema = TranscriptionForm.model_json_schema()
    form = {
        **schema,
        "properties": {"file": {"type": "string", "format": "binary"}, **schema["properties"]},
        "required": ["file"],
    }
    texts = ("application/x-subrip", "text/event-stream", "text/plain", "text/vtt")
    answer = {"application/json": {"schema": {"type": "object"}}, **{kind: {"schema": _TEXT} for kind in texts}}
    return {
        "tags": ["models"],
        "summary": summary,
        "operationId": operation_id,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {"200": {"description": "The transcript", "content": answer}, **refusals},
    }
