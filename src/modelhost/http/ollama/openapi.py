"""The description of Ollama's API in ``/openapi.json``, as far as models answer it.

Its schemas have names of their own there, since other doors have messages and tools, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from modelhost.http.ollama.bodies import ChatRequest, EmbeddingsRequest, EmbedRequest, GenerateRequest
from modelhost.http.ollama.lines import NDJSON
from modelhost.http.ollama.paths import CHAT, EMBED, EMBEDDINGS, GENERATE

PREFIX: Final = "Ollama"
SCHEMAS: Final = "#/components/schemas/"
ERROR: Final = f"{PREFIX}Error"
REQUESTS: Final[Mapping[str, type[BaseModel]]] = {
    CHAT: ChatRequest,
    GENERATE: GenerateRequest,
    EMBED: EmbedRequest,
    EMBEDDINGS: EmbeddingsRequest,
}
SUMMARIES: Final[Mapping[str, str]] = {
    CHAT: "Answer a conversation, in Ollama's format",
    GENERATE: "Answer a prompt, in Ollama's format",
    EMBED: "Turn texts into vectors, in Ollama's format",
    EMBEDDINGS: "Turn one text into a vector, in Ollama's older format",
}
STREAMED: Final = (CHAT, GENERATE)
STATUSES: Final[Mapping[int, str]] = {
    400: "The request cannot be served as it is",
    401: "The API key is missing or wrong",
    404: "No model of that name",
    413: "The body is too large",
    502: "The worker of the model failed",
    503: "No capacity now; see Retry-After",
    504: "The model was not ready in time",
    507: "The model does not fit into memory, whatever is unloaded",
}
STATUSES_OF_CHAT: Final[Mapping[int, str]] = {
    409: "Another host has the session",
    503: "No capacity now (see Retry-After), or a session without a database",
}
TEXT: Final[Mapping[str, Any]] = {"type": "string"}
COUNTED: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 0}
VECTOR: Final[Mapping[str, Any]] = {"type": "array", "items": {"type": "number"}}


def _object(properties: Mapping[str, Any], *optional: str, description: str | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        **({} if description is None else {"description": description}),
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


DURATIONS: Final[Mapping[str, Any]] = {
    name: {**COUNTED, "description": "Nanoseconds."} if name.endswith("duration") else COUNTED
    for name in (
        *("total_duration", "load_duration", "prompt_eval_count"),
        *("prompt_eval_duration", "eval_count", "eval_duration"),
    )
}


def _generated(**text: Any) -> dict[str, Any]:
    """Return the schema of a line, of which a whole answer is the only one."""
    fields = {
        "model": TEXT,
        "created_at": {"type": "string", "format": "date-time"},
        **text,
        "logprobs": {"type": "array", "items": {"type": "object"}},
        "done_reason": {"enum": ["stop", "length", "load", "unload"]},
        **DURATIONS,
        "done": {"type": "boolean"},
    }
    optional = fields.keys() - {"model", "created_at", "message", "response", "done"}
    return _object(fields, *optional, description="A whole answer, or a line of a stream.")


ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    CHAT: _generated(
        message=_object(
            {
                "role": {"const": "assistant"},
                "content": TEXT,
                "thinking": TEXT,
                "tool_calls": {"type": "array", "items": {"type": "object"}},
            },
            "thinking",
            "tool_calls",
        )
    ),
    GENERATE: _generated(response=TEXT, thinking=TEXT),
    EMBED: _object(
        {
            "model": TEXT,
            "embeddings": {"type": "array", "items": VECTOR},
            "total_duration": DURATIONS["total_duration"],
            "load_duration": DURATIONS["load_duration"],
            "prompt_eval_count": COUNTED,
        }
    ),
    EMBEDDINGS: _object({"embedding": VECTOR}),
}
ERROR_SCHEMA: Final = _object(
    {
        "error": {"type": "string", "description": "What is wrong."},
        "code": {"type": "string", "description": "The host's stable code."},
        "param": {"type": ["string", "null"]},
        "source": {"type": "object", "description": "Who refused: the host, or the worker of a model."},
        "details": {"type": "object"},
    },
    description="An error in Ollama's format.",
)


def ollama_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to, by name."""
    template = SCHEMAS + PREFIX + "{model}"
    _, found = models_json_schema([(model, "validation") for model in REQUESTS.values()], ref_template=template)
    return {**{PREFIX + name: schema for name, schema in found["$defs"].items()}, ERROR: ERROR_SCHEMA}


def ollama_paths(session_parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the description of each path; the one that answers in a session has ``session_parameters``."""
    return {path: {"post": _post(path, session_parameters)} for path in REQUESTS}


def _post(path: str, session_parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    statuses = {**STATUSES, **(STATUSES_OF_CHAT if path == CHAT else {})}
    content = _json(ANSWERS[path])
    if path in STREAMED:
        content[NDJSON.decode()] = {"schema": ANSWERS[path]}
    return {
        "tags": ["models"],
        "summary": SUMMARIES[path],
        "operationId": path.removeprefix("/").replace("/", "_").replace("api", "ollama"),
        **({"parameters": list(session_parameters)} if path == CHAT else {}),
        "requestBody": {"required": True, "content": _json(_ref(REQUESTS[path].__name__))},
        "responses": {
            "200": {"description": "The answer", "content": content},
            **{
                str(status): {"description": statuses[status], "content": _json(_ref("Error"))}
                for status in sorted(statuses)
            },
        },
    }


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"{SCHEMAS}{PREFIX}{name}"}
