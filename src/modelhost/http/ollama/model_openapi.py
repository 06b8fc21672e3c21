"""The description of Ollama's API in ``/openapi.json``, as far as it is about models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from modelhost.http.ollama import paths
from modelhost.http.ollama.lines import NDJSON
from modelhost.http.ollama.model_bodies import CopyRequest, CreateRequest, DeleteRequest, PullRequest, ShowRequest

PREFIX: Final = "Ollama"
SCHEMAS: Final = "#/components/schemas/"
STATUSES: Final[Mapping[int, str]] = {
    400: "The request cannot be served as it is",
    401: "The API key is missing or wrong",
    403: "The host may have no other models than its own",
    404: "No model or file of that name",
    413: "The file is too large",
    422: "A file is not what it is used for",
    502: "The download failed",
    507: "The disk is full",
}
TEXT: Final[Mapping[str, Any]] = {"type": "string"}
TIME: Final[Mapping[str, Any]] = {"type": "string", "format": "date-time"}
BYTES: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 0, "description": "Bytes."}
DIGEST: Final[Mapping[str, Any]] = {
    "type": "string",
    "description": "64 digits that change with the model; not those of its weights.",
}


def _object(properties: Mapping[str, Any], *optional: str, description: str | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        **({} if description is None else {"description": description}),
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


DETAILS: Final = _object(
    {
        **dict.fromkeys(("parent_model", "format", "family"), TEXT),
        "families": {"type": "array", "items": TEXT},
        **dict.fromkeys(("parameter_size", "quantization_level"), TEXT),
    }
)
LISTED: Final[Mapping[str, Any]] = {"name": TEXT, "model": TEXT, "size": BYTES, "digest": DIGEST, "details": DETAILS}


def _list_of(**more: Any) -> dict[str, Any]:
    return _object({"models": {"type": "array", "items": _object({**LISTED, **more})}})


SHOWN: Final = _object(
    {
        **dict.fromkeys(("modelfile", "parameters", "template", "system", "license"), TEXT),
        "details": DETAILS,
        "messages": {"type": "array", "items": {"type": "object"}},
        "model_info": {
            "type": "object",
            "description": "The values of the GGUF file. The context length is the one in force.",
        },
        "capabilities": {
            "type": "array",
            "items": {"enum": ["completion", "tools", "insert", "vision", "embedding", "thinking"]},
        },
        "modified_at": TIME,
    },
    "system",
    "license",
    "messages",
)
STATUS: Final = _object(
    {"status": TEXT, "digest": TEXT, "total": BYTES, "completed": BYTES},
    *("digest", "total", "completed"),
    description="A step, as a line of the stream; without a stream the last one, `success`.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    method: str
    summary: str
    request: type[BaseModel] | None = None
    answer: Mapping[str, Any] | None = None
    statuses: tuple[int, ...] = (401,)
    is_streamed: bool = False


CHANGED: Final = (400, 401, 403, 404, 413, 422, 507)
PATHS: Final[Mapping[str, _Described]] = {
    paths.VERSION: _Described(
        method="get",
        summary="Show a version of Ollama, and that of the host",
        answer=_object({"version": TEXT, "modelhost_version": TEXT}),
    ),
    paths.TAGS: _Described(
        method="get", summary="List the models, in Ollama's format", answer=_list_of(modified_at=TIME)
    ),
    paths.PS: _Described(
        method="get",
        summary="List the loaded models, in Ollama's format",
        answer=_list_of(size_vram=BYTES, expires_at=TIME, context_length={"type": "integer"}),
    ),
    paths.SHOW: _Described(
        method="post",
        summary="Show a model in detail, in Ollama's format",
        request=ShowRequest,
        answer=SHOWN,
        statuses=(400, 401, 404, 413),
    ),
    paths.PULL: _Described(
        method="post",
        summary="Download a model from the hub and keep it, in Ollama's format",
        request=PullRequest,
        answer=STATUS,
        statuses=(*CHANGED, 502),
        is_streamed=True,
    ),
    paths.CREATE: _Described(
        method="post",
        summary="Make a model of another one or of uploaded files, in Ollama's format",
        request=CreateRequest,
        answer=STATUS,
        statuses=(*CHANGED, 502),
        is_streamed=True,
    ),
    paths.COPY: _Described(
        method="post", summary="Give a model a further name, in Ollama's format", request=CopyRequest, statuses=CHANGED
    ),
    paths.DELETE: _Described(
        method="delete",
        summary="Delete a model that was created, copied or pulled, in Ollama's format",
        request=DeleteRequest,
        statuses=(400, 401, 403, 404, 413),
    ),
}


def ollama_model_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name; the error is described with the other paths."""
    template = SCHEMAS + PREFIX + "{model}"
    requests = {described.request for described in PATHS.values() if described.request is not None}
    in_order = sorted(requests, key=lambda model: model.__name__)
    _, found = models_json_schema([(model, "validation") for model in in_order], ref_template=template)
    return {PREFIX + name: schema for name, schema in found["$defs"].items()}


def ollama_model_paths() -> dict[str, Any]:
    """Return the description of each path."""
    described = {path: {each.method: _operation(path, each)} for path, each in PATHS.items()}
    return {**described, paths.BLOBS + "{digest}": {"head": _blob("head"), "post": _blob("post")}}


def _operation(path: str, described: _Described) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "The answer"}
    if described.answer is not None:
        answer["content"] = {"application/json": {"schema": described.answer}}
    if described.is_streamed:
        answer["content"][NDJSON.decode()] = {"schema": described.answer}
    request = {} if described.request is None else {"requestBody": _request(described.request)}
    return {
        "tags": ["administration"],
        "summary": described.summary,
        "operationId": f"ollama_{path.rpartition('/')[2]}",
        **request,
        "responses": {"200": answer, **_errors(described.statuses)},
    }


def _request(model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"{SCHEMAS}{PREFIX}{model.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _blob(method: str) -> dict[str, Any]:
    is_upload = method == "post"
    digest = {"type": "string", "pattern": "^sha256[:-][0-9a-f]{64}$"}
    body = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
    return {
        "tags": ["administration"],
        "summary": "Upload a file of a model that is to be created" if is_upload else "Ask whether a file is here",
        "operationId": "ollama_upload_blob" if is_upload else "ollama_blob",
        "parameters": [{"name": "digest", "in": "path", "required": True, "schema": digest}],
        **({"requestBody": body} if is_upload else {}),
        "responses": {
            "201" if is_upload else "200": {"description": "The file is here"},
            **_errors((400, 401, 403, 413, 507) if is_upload else (400, 401, 404)),
        },
    }


def _errors(statuses: tuple[int, ...]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"{SCHEMAS}{PREFIX}Error"}}}
    return {str(status): {"description": STATUSES[status], "content": content} for status in sorted(statuses)}
