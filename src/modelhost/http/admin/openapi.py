"""The administration's part of ``/openapi.json``, rendered from the declarations of the operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel

from modelhost import errors
from modelhost.errors import ModelhostError
from modelhost.http.admin import model_events
from modelhost.http.errors import STATUS
from modelhost.http.openapi_parts import SCHEMAS, in_json
from modelhost.operations.operation import AnyOperation, HttpRoute
from modelhost.operations.remote_calls import EVENT_STREAM, PROGRESS, RESULT, event_of
from modelhost.operations.reports import EventReport
from modelhost.operations.table import OPERATIONS

MEANINGS: Final[Mapping[type[ModelhostError], str]] = {
    errors.InvalidRequest: "The request cannot be served as it is",
    errors.Unauthorized: "The API key is missing or wrong",
    errors.ModelNotFound: "No model of that name",
    errors.ModelNotAllowed: "The host may not add that model",
    errors.ModelBusy: "The model has requests in flight",
    errors.RequestTooLarge: "The body is too large",
    errors.ModelFileMissing: "No file of that path",
    errors.ModelFileInvalid: "The model's files cannot be used",
    errors.EngineMissing: "No engine here can serve it",
    errors.DownloadFailed: "The download failed",
    errors.WorkerStartFailed: "The model could not be started",
    errors.ModelFailed: "Not possible now; see Retry-After",
    errors.QueueTimeout: "The model was not ready in time",
    errors.InsufficientMemory: "The model does not fit into memory, whatever is unloaded",
    errors.McpServerNotFound: "No MCP server of that name",
    errors.ToolNotFound: "No tool of that name",
    errors.ToolServerUnavailable: "The MCP server is not ready, or cannot be used as it is configured",
    errors.ToolCallFailed: "The MCP server answered with an error",
    errors.SessionNotFound: "No session of that id",
    errors.ResponseNotFound: "No stored response of that id",
    errors.PreviousResponseNotFound: "The response to go on with is not stored",
    errors.ConversationNotFound: "No conversation of that id",
    errors.ItemNotFound: "No item of that id",
    errors.EngineError: "The worker of the model failed",
    errors.QueueFull: "No capacity now; see Retry-After",
    errors.SessionBusy: "Another host has the session",
    errors.StateNotFound: "Nothing is saved under that name",
    errors.StateDamaged: "What was saved is damaged, or of a newer version",
    errors.DatabaseUnavailable: "The database cannot be reached, read or written",
    errors.InvalidAnswer: "The answer does not fit the form of the question, which waits on",
    errors.NotFound: "Nobody waits for that answer: it is given, or its time is over",
}
GET_ERRORS: Final = (errors.InvalidRequest, errors.Unauthorized)
POST_ERRORS: Final = (*GET_ERRORS, errors.RequestTooLarge)
EVENT_EXAMPLE: Final = (
    "event: state\n"
    'data: {"at":1767225600.0,"kind":"state","model":"qwen","state":"loading","activity":"load","progress":0.0,'
    '"message":null}\n\n'
)


def administration_models() -> Iterator[tuple[type[BaseModel], Literal["validation", "serialization"]]]:
    """Return the models that :func:`administration_paths` refers to."""
    for operation in OPERATIONS:
        yield operation.parameters, "validation"
        yield operation.result, "serialization"
    yield EventReport, "serialization"


def administration_paths() -> dict[str, Any]:
    paths: dict[str, Any] = {model_events.PATH: {"get": _events()}}
    for operation in OPERATIONS:
        if (route := operation.route) is not None:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(operation, route)
    return paths


def _operation(operation: AnyOperation, route: HttpRoute) -> dict[str, Any]:
    raised = (*operation.errors, *(POST_ERRORS if route.method == "POST" else GET_ERRORS))
    described: dict[str, Any] = {
        "tags": ["administration" if operation.area == "models" else operation.area],
        "summary": operation.summary,
        "operationId": operation.name,
        "responses": {
            "200": {
                "description": "The answer",
                "content": in_json(
                    {"$ref": SCHEMAS + operation.result.__name__}, example=dict(operation.example_answer)
                )
                | _event_stream(operation),
            },
            **refusals(raised),
        },
    }
    if parameters := _parameters(operation, route):
        described["parameters"] = parameters
    if route.method == "POST" and (body := _body(operation, route)):
        described["requestBody"] = body
    return described


def _parameters(operation: AnyOperation, route: HttpRoute) -> list[dict[str, Any]]:
    """Return what is in the path and, unless there is a body, in the query."""
    schema = operation.parameters.model_json_schema()
    in_path = set(route.path_names)
    names = [name for name in schema.get("properties", {}) if name in in_path or route.method != "POST"]
    return [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in schema.get("required", ()),
            "description": schema["properties"][name].get("description", ""),
            "schema": _text_schema(schema["properties"][name]),
        }
        for name in names
    ]


def _text_schema(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is left out where a body would say ``null``."""
    (schema,) = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    return {name: value for name, value in schema.items() if name not in ("title", "description")}


def _body(operation: AnyOperation, route: HttpRoute) -> dict[str, Any] | None:
    """Return what the body of a POST holds; ``None`` if all is in the path."""
    if not route.path_names:
        required = operation.parameters.model_json_schema().get("required", ())
        content = in_json({"$ref": SCHEMAS + operation.parameters.__name__}, example=dict(operation.example))
        return {"required": bool(required), "content": content}
    schema = operation.parameters.model_json_schema(ref_template=SCHEMAS + "{model}")
    schema.pop("$defs", None)
    fields = {name: field for name, field in schema["properties"].items() if name not in route.path_names}
    if not fields:
        return None
    required = [name for name in schema.get("required", ()) if name in fields]
    example = {name: value for name, value in operation.example.items() if name in fields}
    schema |= {"properties": fields, "required": required}
    return {"required": bool(required), "content": in_json(schema, example=example)}


def _events() -> dict[str, Any]:
    stream = {"schema": {"type": "string"}, "example": EVENT_EXAMPLE}
    return {
        "tags": ["administration"],
        "summary": "Stream model events, as server-sent events",
        "description": "First the state of each model, then every change and how far loads are. The `data` of each "
        "event is an EventReport, its `event` that report's `kind`.",
        "operationId": model_events.NAME,
        "responses": {
            "200": {"description": "The events; they have no end", "content": {"text/event-stream": stream}},
            **refusals([errors.Unauthorized]),
        },
    }


def _event_stream(operation: AnyOperation) -> dict[str, Any]:
    """Return the content of the answer with progress, for an operation that reports it."""
    if not operation.reports_progress:
        return {}
    steps = [
        (PROGRESS, {"fraction": 0.5, "message": "downloading model.gguf"}),
        (RESULT, dict(operation.example_answer)),
    ]
    example = b"".join(event_of(name, data) for name, data in steps).decode()
    return {EVENT_STREAM: {"schema": {"type": "string"}, "example": example}}


def refusals(raised: Sequence[type[ModelhostError]]) -> dict[str, Any]:
    """Return the answers of all errors by their status; a status that several share says all of them."""
    content = in_json({"$ref": f"{SCHEMAS}Error"})
    meanings: dict[int, dict[str, None]] = {}
    for error in raised:
        meanings.setdefault(STATUS[error], {})[MEANINGS[error]] = None
    return {
        str(status): {"description": "; or: ".join(meanings[status]), "content": content} for status in sorted(meanings)
    }
