"""What ``/openapi.json`` says of probes, version and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from modelhost.errors import Unauthorized
from modelhost.http.admin.openapi import refusals

TEXT: Final[Mapping[str, Any]] = {"type": "string"}
READINESS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "status": {"enum": ["ready", "not_ready"]},
        "models": {"type": "object", "description": "The state of each model.", "additionalProperties": TEXT},
    },
    "required": ["status", "models"],
}


def system_paths() -> dict[str, Any]:
    """Return the part of the document."""
    return {
        "/health": _get("health", "Does the process live?", {"200": _json("It does", _object("status"))}),
        "/ready": _get(
            "ready",
            "Can a model answer?",
            {"200": _json("One can", READINESS), "503": _json("None can now", READINESS)},
        ),
        "/version": _get("version", "What answers here?", {"200": _json("The answer", _object("name", "version"))}),
        "/metrics": _get(
            "metrics",
            "Metrics in Prometheus' text format",
            {
                "200": {"description": "The metrics", "content": {CONTENT_TYPE_PLAIN_0_0_4: {"schema": TEXT}}},
                **refusals([Unauthorized]),
            },
        ),
    }


def _get(operation_id: str, summary: str, responses: Mapping[str, Any]) -> dict[str, Any]:
    described = {"tags": ["system"], "summary": summary, "operationId": operation_id, "responses": dict(responses)}
    return {"get": described}


def _json(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": dict(schema)}}}


def _object(*fields: str) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(fields, TEXT), "required": list(fields)}
