"""The part of ``/openapi.json`` about sound that no request body describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.chat.parsing.transcription_form import TranscriptionForm
from modelhost.http.openai.audio.paths import MODELS, TRANSCRIPTIONS, TRANSLATIONS, VOICES
from modelhost.http.openapi_parts import BYTES, EVENTS, TEXT, in_form, in_json, list_of, object_schema

_NAMED: Final = object_schema({"id": TEXT, "name": TEXT})
_MODELS: Final = object_schema({"object": {"const": "list"}, "models": list_of(_NAMED)})
_LIST: Final = object_schema({"object": {"const": "list"}, "model": TEXT, "voices": list_of(_NAMED)})
_MODEL: Final = {
    "name": "model",
    "in": "query",
    "required": False,
    "description": "Default: the active model if it speaks, else the first that does.",
    "schema": TEXT,
}


def audio_paths(refusals: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the document; ``refusals`` are the responses of errors, by status."""
    described = {"description": "The voices, the default first", "content": in_json(_LIST)}
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
            "200": {"description": "The models", "content": in_json(_MODELS)},
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
        "properties": {"file": BYTES, **in_form(schema["properties"])},
        "required": ["file"],
    }
    texts = ("application/x-subrip", EVENTS, "text/plain", "text/vtt")
    answer = {**in_json({"type": "object"}), **{kind: {"schema": TEXT} for kind in texts}}
    return {
        "tags": ["models"],
        "summary": summary,
        "operationId": operation_id,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {"200": {"description": "The transcript", "content": answer}, **refusals},
    }
