"""What the doors share that describe themselves in ``/openapi.json``: schemas, refusals, and a method of a path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from modelhost.config.value_types import LONGEST_ID, WITHOUT_CONTROLS

Json = Mapping[str, Any]
SCHEMAS: Final = "#/components/schemas/"
TEXT: Final[Json] = {"type": "string"}
COUNTED: Final[Json] = {"type": "integer", "minimum": 0}
BYTES: Final[Json] = {"type": "string", "format": "binary"}
SOURCE: Final[Json] = {"type": "object", "description": "Who refused: the host, or the worker of a model."}
EVENTS: Final = "text/event-stream"
STATUSES: Final[Mapping[int, str]] = {
    400: "The request cannot be served as it is",
    401: "The API key is missing or wrong",
    404: "No model of that name",
    413: "The body is too large",
    502: "The worker of the model failed",
    503: "No capacity now; see Retry-After",
}
"""Of every path that a model answers."""
STATUSES_OF_LOADING: Final[Mapping[int, str]] = {
    504: "The model was not ready in time",
    507: "The model does not fit into memory, whatever is unloaded",
}
STATUSES_IN_SESSIONS: Final[Mapping[int, str]] = {
    409: "Another host has the session",
    503: "No capacity now (see Retry-After), or a session without a database",
}
SESSION_PARAMETERS: Final[Sequence[Json]] = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", "maxLength": LONGEST_ID, "pattern": WITHOUT_CONTROLS},
    }
    for name, description in (
        ("X-Session-Id", "The session that the messages go on with, as the field `session_id`. Empty: none."),
        ("X-Conversation-Id", "The same, under candle-vllm's name."),
    )
]


def object_schema(properties: Json, *optional: str, description: str | None = None) -> dict[str, Any]:
    """Return the schema of an object whose ``properties`` are required, except the ``optional`` ones."""
    return {
        "type": "object",
        **({} if description is None else {"description": description}),
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


def maybe(kind: str) -> dict[str, Any]:
    """Return the schema of a value of the type ``kind`` that may be ``null``."""
    return {"type": [kind, "null"]}


def in_form(properties: Mapping[str, Json]) -> dict[str, Json]:
    """Return fields as a form has them, which has no null: a field that is not wanted is left out."""
    return {name: _never_null(schema) for name, schema in properties.items()}


def _never_null(schema: Json) -> Json:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == len(schema.get("anyOf", ())):
        return schema
    others = {name: value for name, value in schema.items() if name != "anyOf" and (name, value) != ("default", None)}
    return {**others, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})}


def list_of(schema: Json, description: str | None = None) -> dict[str, Any]:
    """Return the schema of an array."""
    return {"type": "array", "items": schema, **({} if description is None else {"description": description})}


def in_json(schema: Json, **more: Any) -> dict[str, Any]:
    """Return the content of a body or an answer in JSON."""
    return {"application/json": {"schema": schema, **more}}


def refused(statuses: Mapping[int, str], error: str = "Error") -> dict[str, Any]:
    """Return the answers of ``statuses``, in the schema named ``error``."""
    content = in_json({"$ref": SCHEMAS + error})
    return {str(status): {"description": statuses[status], "content": content} for status in sorted(statuses)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is said of a method of a path."""

    summary: str
    id: str
    answer: Json | None
    """``None``: a status alone."""
    refusals: Json
    request: type[BaseModel] | None = None
    needs_body: bool = True
    streamed_as: str | None = None
    """The media type of the answer in pieces, if there is one."""
    stream: Json | None = None
    """The schema of a piece; by default, text."""
    parameters: Sequence[Json] = ()
    tag: str = "models"


@dataclass(frozen=True, slots=True)
class DoorSchemas:
    """A door's own part of the schemas, whose names begin with ``prefix``: other doors have messages and tools, too."""

    prefix: str

    def of(self, models: Iterable[type[BaseModel]]) -> dict[str, Any]:
        """Return the schemas of ``models`` and of what they consist of, by name."""
        template = SCHEMAS + self.prefix + "{model}"
        _, found = models_json_schema([(model, "validation") for model in models], ref_template=template)
        return {self.prefix + name: schema for name, schema in found["$defs"].items()}

    def ref(self, name: str) -> dict[str, str]:
        """Return a reference to the schema ``name``."""
        return {"$ref": SCHEMAS + self.prefix + name}

    def method(self, described: Described) -> dict[str, Any]:
        """Return the description of a method of a path."""
        answer: dict[str, Any] = {"description": "The answer"}
        if described.answer is not None:
            answer["content"] = in_json(described.answer)
        if described.streamed_as is not None:
            answer["content"][described.streamed_as] = {"schema": described.stream or TEXT}
        request = described.request
        body = None if request is None else in_json(self.ref(request.__name__))
        return {
            "tags": [described.tag],
            "summary": described.summary,
            "operationId": described.id,
            **({"parameters": list(described.parameters)} if described.parameters else {}),
            **({} if body is None else {"requestBody": {"required": described.needs_body, "content": body}}),
            "responses": {"200": answer, **described.refusals},
        }
