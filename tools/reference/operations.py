"""The parts of ``docs/reference/endpoints.md`` on the administrative operations, from their declarations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from modelhost.http.admin import model_events
from modelhost.http.admin.openapi import EVENT_EXAMPLE
from modelhost.operations.cards import ModelCard
from modelhost.operations.models import LIST
from modelhost.operations.operation import AnyOperation, HttpRoute
from modelhost.operations.reports import EventReport
from modelhost.operations.table import MODEL_OPERATIONS, TOOL_OPERATIONS
from tools.reference.schemas import type_in_words
from tools.reference.tables import table

FIELDS = ("Field", "Type", "Meaning")
CARDS = """\
The answer is OpenAI's: `{"object": "list", "data": [...]}`, with the active model first.
`GET /v1/models/{model_id}` returns one model of the list. The fields of each:
"""
EVENTS = """\
First the state of each model, then every change and the progress of loads, until the client disconnects or the host
stops. The name of an event is its `kind`; comments keep a silent stream alive. A client that reads slowly misses only
events that newer events of the same model replace.
"""


def administration_sections(document: Mapping[str, Any]) -> str:
    """Every operation on models with its parameters, its result and its errors, and the events."""
    return "".join([_list_section(), *_sections(MODEL_OPERATIONS, document), _events_section(document)])


def tool_sections(document: Mapping[str, Any]) -> str:
    """Every operation on tools in the same way."""
    return "".join(_sections(TOOL_OPERATIONS, document))


def _sections(operations: Iterable[AnyOperation], document: Mapping[str, Any]) -> list[str]:
    return [_section(operation, operation.route, document) for operation in operations if operation.route is not None]


def _list_section() -> str:
    return "\n".join(
        [
            f"\n### {LIST.summary}: `GET /v1/models`\n",
            f"The operation `{LIST.name}`. {CARDS}",
            table(FIELDS, _rows(ModelCard.model_json_schema(mode="serialization"))),
        ]
    )


def _section(operation: AnyOperation, route: HttpRoute, document: Mapping[str, Any]) -> str:
    described = document["paths"][route.path][route.method.lower()]
    body = {name: value for name, value in operation.example.items() if name not in route.path_names}
    answer = json.dumps(operation.example_answer, indent=2)
    parts = [
        f"\n### {operation.summary}: `{route.method} {route.path}`\n",
        f"The operation `{operation.name}`{_command(operation)}.\n",
        _parameters(operation, route),
        f"```json\n{json.dumps(body)}\n```\n" if route.method == "POST" and body else None,
        table(FIELDS, _rows(operation.result.model_json_schema(mode="serialization"))),
        f"```json\n{answer}\n```\n",
        table(("Status", "Meaning"), _statuses(described)),
    ]
    return "\n".join(part for part in parts if part is not None)


def _command(operation: AnyOperation) -> str:
    return "" if operation.command is None else f", and the command `modelhost {operation.area} {operation.command}`"


def _parameters(operation: AnyOperation, route: HttpRoute) -> str | None:
    schema = operation.parameters.model_json_schema()
    required = schema.get("required", [])
    elsewhere = "query" if route.method == "GET" else "body"
    rows = []
    for name, kind, meaning in _rows(schema):
        bare = name.strip("`")
        place = "path" if bare in route.path_names else elsewhere
        rows.append((name, kind, place, "yes" if bare in required else "", meaning))
    return table(("Parameter", "Type", "In", "Required", "Meaning"), rows) if rows else None


def _events_section(document: Mapping[str, Any]) -> str:
    described = document["paths"][model_events.PATH]["get"]
    return "\n".join(
        [
            f"\n### {described['summary']}: `GET {model_events.PATH}`\n",
            EVENTS,
            table(FIELDS, _rows(EventReport.model_json_schema(mode="serialization"))),
            f"```text\n{EVENT_EXAMPLE}```\n",
            table(("Status", "Meaning"), _statuses(described)),
        ]
    )


def _rows(schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each field; the fields of an object that stands in it follow, with a dot."""
    rows = []
    for name, field in schema.get("properties", {}).items():
        within = _definition(field, schema)
        enum = within.get("enum") if within else None
        kind = type_in_words({"enum": enum} if enum else field)
        rows.append((f"`{name}`", kind, field.get("description", "")))
        if within and "properties" in within:
            inner = _rows({**within, "$defs": schema["$defs"]})
            rows.extend((f"`{name}.{inner_name.strip('`')}`", *rest) for inner_name, *rest in inner)
    return rows


def _definition(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The definition that a field, its items or its values refer to."""
    for place in (field, field.get("items"), field.get("additionalProperties"), *field.get("anyOf", [])):
        if isinstance(place, dict) and "$ref" in place:
            found: Mapping[str, Any] = schema["$defs"][place["$ref"].rsplit("/", 1)[-1]]
            return found
    return None


def _statuses(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(status, f"{answer['description']}.") for status, answer in described["responses"].items()]
