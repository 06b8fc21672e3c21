"""The description of Ollama's API in ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from modelhost.http import openapi_parts as parts
from modelhost.http.ollama import paths
from modelhost.http.ollama.bodies import ChatRequest, EmbeddingsRequest, EmbedRequest, GenerateRequest
from modelhost.http.ollama.lines import NDJSON
from modelhost.http.ollama.model_bodies import CopyRequest, CreateRequest, DeleteRequest, PullRequest, ShowRequest
from modelhost.http.ollama.paths import CHAT, EMBED, EMBEDDINGS, GENERATE
from modelhost.http.openapi_parts import Described, DoorSchemas, Json, object_schema

OWN: Final = DoorSchemas("Ollama")
ERROR: Final = f"{OWN.prefix}Error"
REQUESTS: Final[Mapping[str, type[BaseModel]]] = {
    CHAT: ChatRequest,
    GENERATE: GenerateRequest,
    EMBED: EmbedRequest,
    EMBEDDINGS: EmbeddingsRequest,
}
"""What models answer."""
SUMMARIES: Final[Mapping[str, str]] = {
    CHAT: "Answer a conversation, in Ollama's format",
    GENERATE: "Answer a prompt, in Ollama's format",
    EMBED: "Turn texts into vectors, in Ollama's format",
    EMBEDDINGS: "Turn one text into a vector, in Ollama's older format",
}
STREAMED: Final = NDJSON.decode()
VECTOR: Final = parts.list_of({"type": "number"})
DURATIONS: Final[Json] = {
    name: {**parts.COUNTED, "description": "Nanoseconds."} if name.endswith("duration") else parts.COUNTED
    for name in (
        *("total_duration", "load_duration", "prompt_eval_count"),
        *("prompt_eval_duration", "eval_count", "eval_duration"),
    )
}


def _generated(**text: Any) -> dict[str, Any]:
    """Return the schema of a line, of which a whole answer is the only one."""
    fields = {
        "model": parts.TEXT,
        "created_at": {"type": "string", "format": "date-time"},
        **text,
        "logprobs": parts.list_of({"type": "object"}),
        "done_reason": {"enum": ["stop", "length", "load", "unload"]},
        **DURATIONS,
        "done": {"type": "boolean"},
    }
    optional = fields.keys() - {"model", "created_at", "message", "response", "done"}
    return object_schema(fields, *optional, description="A whole answer, or a line of a stream.")


ANSWERS: Final[Mapping[str, Json]] = {
    CHAT: _generated(
        message=object_schema(
            {
                "role": {"const": "assistant"},
                "content": parts.TEXT,
                "thinking": parts.TEXT,
                "tool_calls": parts.list_of({"type": "object"}),
            },
            "thinking",
            "tool_calls",
        )
    ),
    GENERATE: _generated(response=parts.TEXT, thinking=parts.TEXT),
    EMBED: object_schema(
        {
            "model": parts.TEXT,
            "embeddings": parts.list_of(VECTOR),
            "total_duration": DURATIONS["total_duration"],
            "load_duration": DURATIONS["load_duration"],
            "prompt_eval_count": parts.COUNTED,
        }
    ),
    EMBEDDINGS: object_schema({"embedding": VECTOR}),
}
ERROR_SCHEMA: Final = object_schema(
    {
        "error": {"type": "string", "description": "What is wrong."},
        "code": {"type": "string", "description": "The host's stable code."},
        "param": parts.maybe("string"),
        "source": parts.SOURCE,
        "details": {"type": "object"},
    },
    description="An error in Ollama's format.",
)
STATUSES_OF_MODELS: Final[Mapping[int, str]] = {
    400: "The request cannot be served as it is",
    401: "The API key is missing or wrong",
    403: "The host may have no other models than its own",
    404: "No model or file of that name",
    413: "The file is too large",
    422: "A file is not what it is used for",
    502: "The download failed",
    507: "The disk is full",
}
TIME: Final[Json] = {"type": "string", "format": "date-time"}
BYTES: Final[Json] = {"type": "integer", "minimum": 0, "description": "Bytes."}
DIGEST: Final[Json] = {
    "type": "string",
    "description": "64 digits that change with the model; not those of its weights.",
}
DETAILS: Final = object_schema(
    {
        **dict.fromkeys(("parent_model", "format", "family"), parts.TEXT),
        "families": parts.list_of(parts.TEXT),
        **dict.fromkeys(("parameter_size", "quantization_level"), parts.TEXT),
    }
)
LISTED: Final[Json] = {"name": parts.TEXT, "model": parts.TEXT, "size": BYTES, "digest": DIGEST, "details": DETAILS}


def _list_of(**more: Any) -> dict[str, Any]:
    return object_schema({"models": {"type": "array", "items": object_schema({**LISTED, **more})}})


SHOWN: Final = object_schema(
    {
        **dict.fromkeys(("modelfile", "parameters", "template", "system", "license"), parts.TEXT),
        "details": DETAILS,
        "messages": parts.list_of({"type": "object"}),
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
STATUS: Final = object_schema(
    {"status": parts.TEXT, "digest": parts.TEXT, "total": BYTES, "completed": BYTES},
    *("digest", "total", "completed"),
    description="A step, as a line of the stream; without a stream the last one, `success`.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfModels:
    method: str
    summary: str
    request: type[BaseModel] | None = None
    answer: Json | None = None
    statuses: tuple[int, ...] = (401,)
    streams: bool = False


CHANGED: Final = (400, 401, 403, 404, 413, 422, 507)
PATHS: Final[Mapping[str, _OfModels]] = {
    paths.VERSION: _OfModels(
        method="get",
        summary="Show a version of Ollama, and that of the host",
        answer=object_schema({"version": parts.TEXT, "modelhost_version": parts.TEXT}),
    ),
    paths.TAGS: _OfModels(
        method="get", summary="List the models, in Ollama's format", answer=_list_of(modified_at=TIME)
    ),
    paths.PS: _OfModels(
        method="get",
        summary="List the loaded models, in Ollama's format",
        answer=_list_of(size_vram=BYTES, expires_at=TIME, context_length={"type": "integer"}),
    ),
    paths.SHOW: _OfModels(
        method="post",
        summary="Show a model in detail, in Ollama's format",
        request=ShowRequest,
        answer=SHOWN,
        statuses=(400, 401, 404, 413),
    ),
    paths.PULL: _OfModels(
        method="post",
        summary="Download a model from the hub and keep it, in Ollama's format",
        request=PullRequest,
        answer=STATUS,
        statuses=(*CHANGED, 502),
        streams=True,
    ),
    paths.CREATE: _OfModels(
        method="post",
        summary="Make a model of another one or of uploaded files, in Ollama's format",
        request=CreateRequest,
        answer=STATUS,
        statuses=(*CHANGED, 502),
        streams=True,
    ),
    paths.COPY: _OfModels(
        method="post", summary="Give a model a further name, in Ollama's format", request=CopyRequest, statuses=CHANGED
    ),
    paths.DELETE: _OfModels(
        method="delete",
        summary="Delete a model that was created, copied or pulled, in Ollama's format",
        request=DeleteRequest,
        statuses=(400, 401, 403, 404, 413),
    ),
}


def ollama_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name."""
    of_models = {each.request for each in PATHS.values() if each.request is not None}
    schemas = OWN.of(REQUESTS.values()) | OWN.of(sorted(of_models, key=lambda model: model.__name__))
    return schemas | {ERROR: ERROR_SCHEMA}


def ollama_paths() -> dict[str, Any]:
    answering = {path: {"post": _answering(path)} for path in REQUESTS}
    of_models = {path: {each.method: _of_models(path, each)} for path, each in PATHS.items()}
    return {**answering, **of_models, paths.BLOBS + "{digest}": {"head": _blob("head"), "post": _blob("post")}}


def _answering(path: str) -> dict[str, Any]:
    is_chat, answer = path == CHAT, ANSWERS[path]
    statuses = {**parts.STATUSES, **parts.STATUSES_OF_LOADING, **(parts.STATUSES_IN_SESSIONS if is_chat else {})}
    described = Described(
        id=path.removeprefix("/").replace("/", "_").replace("api", "ollama"),
        summary=SUMMARIES[path],
        request=REQUESTS[path],
        answer=answer,
        streamed_as=STREAMED if path in (CHAT, GENERATE) else None,
        stream=answer,
        refusals=parts.refused(statuses, ERROR),
        parameters=parts.SESSION_PARAMETERS if is_chat else (),
    )
    return OWN.method(described)


def _of_models(path: str, each: _OfModels) -> dict[str, Any]:
    described = Described(
        id=f"ollama_{path.rpartition('/')[2]}",
        tag="administration",
        summary=each.summary,
        request=each.request,
        answer=each.answer,
        streamed_as=STREAMED if each.streams else None,
        stream=each.answer,
        refusals=_refused(each.statuses),
    )
    return OWN.method(described)


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
            **_refused((400, 401, 403, 413, 507) if is_upload else (400, 401, 404)),
        },
    }


def _refused(statuses: tuple[int, ...]) -> dict[str, Any]:
    return parts.refused({status: STATUSES_OF_MODELS[status] for status in statuses}, ERROR)
