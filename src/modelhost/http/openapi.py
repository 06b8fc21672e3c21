"""What FastAPI does not describe in ``/openapi.json``: the POST endpoints, the probes and the administration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic.json_schema import models_json_schema

from modelhost.chat.parsing.bodies import MODELS
from modelhost.errors import ModelhostError, ModelNotFound, Unauthorized
from modelhost.exchange.tasks import TASKS, Task
from modelhost.http import openapi_parts as parts
from modelhost.http.admin.openapi import administration_models, administration_paths, refusals
from modelhost.http.anthropic.openapi import add_versions, anthropic_paths, anthropic_schemas
from modelhost.http.edge import OPEN_PATHS
from modelhost.http.ollama.openapi import ollama_paths, ollama_schemas
from modelhost.http.openai.audio.openapi import audio_paths
from modelhost.http.openai.audio.paths import SPEECH
from modelhost.http.openai.generation import PATHS
from modelhost.http.openai.images.openapi import image_paths
from modelhost.http.openapi_parts import Json, object_schema
from modelhost.http.prompt import openapi as prompt_openapi
from modelhost.http.responses.openapi import responses_paths, responses_schemas, stored_paths, stored_schemas

AUDIO_TYPES: Final = ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
SUMMARIES: Final[Mapping[Task, str]] = {
    "chat": "Answer a conversation",
    "completions": "Continue a text",
    "infill": "Generate text before a given text",
    "embeddings": "Turn texts into vectors",
    "rerank": "Rank documents by relevance to a query",
    "tokenize": "Turn a text into tokens",
    "detokenize": "Turn tokens into a text",
    "speech": "Speak a text",
}
MODEL_LIST_ERRORS: Mapping[str, Sequence[type[ModelhostError]]] = {
    "/v1/models": (Unauthorized,),
    "/v1/models/{model_id}": (Unauthorized, ModelNotFound),
}
"""The errors of FastAPI's own routes."""
UNUSED_SCHEMAS = ("HTTPValidationError", "ValidationError")
"""Schemas of FastAPI for invalid parameters, which its routes here cannot have."""
STATUSES_OF_TASKS: Final = {**parts.STATUSES, **parts.STATUSES_OF_LOADING}
ERROR_SCHEMA: Final = object_schema(
    {
        "error": object_schema(
            {
                "message": parts.TEXT,
                "type": parts.TEXT,
                "param": parts.maybe("string"),
                "code": parts.TEXT,
                "source": parts.SOURCE,
                "details": {"type": "object"},
            }
        )
    }
)


def describe(app: FastAPI, *, needs_key: bool, prompt_paths: Sequence[str]) -> None:
    """Have ``app`` serve a document with the POST endpoints too, made on the first request."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, needs_key=needs_key)
            app.openapi_schema["paths"].update(prompt_openapi.prompt_paths(prompt_paths))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _document(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, definitions = models_json_schema(
        [*((model, "validation") for model in MODELS.values()), *administration_models()],
        ref_template=parts.SCHEMAS + "{model}",
    )
    schemas |= definitions["$defs"] | responses_schemas() | stored_schemas() | anthropic_schemas() | ollama_schemas()
    schemas["Error"] = ERROR_SCHEMA
    schemas["SessionDocument"]["properties"]["messages"]["items"] = {"$ref": f"{parts.SCHEMAS}Message"}
    for model in UNUSED_SCHEMAS:
        del schemas[model]
    for path, raised in MODEL_LIST_ERRORS.items():
        described = document["paths"][path]["get"]["responses"]
        document["paths"][path]["get"]["responses"] = {"200": described["200"], **refusals(raised)}
    for task in SUMMARIES:
        for number, path in enumerate(PATHS.get(task, (SPEECH,)), 1):
            document["paths"][path] = {"post": _post(task, task if number == 1 else f"{task}_{number}")}
    refusals_of_tasks = parts.refused(STATUSES_OF_TASKS)
    document["paths"] |= audio_paths(refusals_of_tasks) | image_paths(refusals_of_tasks)
    document["paths"] |= responses_paths() | stored_paths() | anthropic_paths() | ollama_paths()
    document["paths"] |= system_paths() | administration_paths()
    add_versions(document["paths"])
    if needs_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        for path in OPEN_PATHS & document["paths"].keys():
            document["paths"][path]["get"]["security"] = []
    return document


def _post(task: Task, operation_id: str) -> dict[str, Any]:
    answer = parts.in_json({"type": "object"})
    if TASKS[task].answer == "bytes":
        answer = {media_type: {"schema": parts.BYTES} for media_type in AUDIO_TYPES}
    if TASKS[task].answer in ("bytes", "sse"):
        answer[parts.EVENTS] = {"schema": parts.TEXT}
    return {
        "tags": ["models"],
        "summary": SUMMARIES[task],
        "operationId": operation_id,
        **({"parameters": parts.SESSION_PARAMETERS} if task == "chat" else {}),
        "requestBody": {"required": True, "content": parts.in_json({"$ref": parts.SCHEMAS + MODELS[task].__name__})},
        "responses": {
            "200": {"description": "The answer", "content": answer},
            **parts.refused({**STATUSES_OF_TASKS, **(parts.STATUSES_IN_SESSIONS if task == "chat" else {})}),
        },
    }


READINESS: Final = object_schema(
    {
        "status": {"enum": ["ready", "not_ready"]},
        "models": {"type": "object", "description": "The state of each model.", "additionalProperties": parts.TEXT},
    }
)
CHECK: Final = object_schema({"status": {"enum": ["ok", "degraded", "failed"]}, "reason": parts.maybe("string")})
CHECKS: Final[Json] = {"type": "object", "additionalProperties": CHECK}
HEALTH: Final = object_schema(
    {
        "status": {"enum": ["ok", "degraded", "failed"]},
        "reasons": parts.list_of(parts.TEXT, "What is wrong, in sentences."),
        "models": CHECKS,
        "mcp_servers": CHECKS,
        "database": CHECK,
        "disk": CHECK,
    },
    *("reasons", "models", "mcp_servers", "database", "disk"),
)


def system_paths() -> dict[str, Any]:
    """Return the part of the document."""
    return {
        "/health": _health(),
        "/ready": _get(
            "ready",
            "Check that a model can answer",
            {"200": _json("One can", READINESS), "503": _json("None can now", READINESS)},
        ),
        "/version": _get(
            "version",
            "Show the name and version of the server",
            {"200": _json("The answer", object_schema({"name": parts.TEXT, "version": parts.TEXT}))},
        ),
        "/metrics": _get(
            "metrics",
            "Metrics in Prometheus' text format",
            {
                "200": {"description": "The metrics", "content": {CONTENT_TYPE_PLAIN_0_0_4: {"schema": parts.TEXT}}},
                **refusals([Unauthorized]),
            },
        ),
    }


def _health() -> dict[str, Any]:
    described = _get(
        "health",
        "Check that the process is alive, or with `deep=true` everything that it needs",
        {
            "200": _json("It is; with `deep=true`, a model can answer", HEALTH),
            "503": _json("With `deep=true`: no model can answer, or the database or the disk fails", HEALTH),
            **refusals([Unauthorized]),
        },
    )
    described["get"]["parameters"] = [
        {
            "name": "deep",
            "in": "query",
            "description": "Check models, MCP servers, the database, the disk and remote endpoints; this needs a key.",
            "schema": {"type": "boolean", "default": False},
        }
    ]
    return described


def _get(operation_id: str, summary: str, responses: Mapping[str, Any]) -> dict[str, Any]:
    described = {"tags": ["system"], "summary": summary, "operationId": operation_id, "responses": dict(responses)}
    return {"get": described}


def _json(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": parts.in_json(schema)}
