"""The operation on the audit log: its parameters, its result and its declaration."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from modelhost.errors import DatabaseUnavailable
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Result, Timestamp

if TYPE_CHECKING:
    from modelhost.host import Host


class AuditParameters(Parameters):
    """Which entries."""

    limit: int = Field(default=100, ge=1, le=10_000, strict=False, description="Maximum number of entries.")
    before: Timestamp | None = Field(default=None, description="Only entries before this time: `2026-01-01T12:00:00Z`.")
    operation: str | None = Field(default=None, description="Only entries of this operation.")
    actor: str | None = Field(default=None, description="Only entries of this caller.")
    outcome: str | None = Field(default=None, description="`ok`, or the code of an error.")


class AuditReport(Result):
    """One operation that somebody had done."""

    at: datetime
    actor: str = Field(description="The name of the API key, `key-` and a hash of one without a name, or `anonymous`.")
    face: str = Field(description="The face of the request: `http`, `mcp-http`, `mcp-stdio` or `host`.")
    operation: str
    arguments: dict[str, Any] = Field(description="The arguments, without contents and secrets.")
    outcome: str = Field(description="`ok`, or the code of an error.")
    duration_ms: float
    request_id: str | None
    model: str | None


class AuditList(Result):
    """Entries of the audit log, the newest first."""

    entries: list[AuditReport]


async def _entries(host: Host, parameters: AuditParameters, _on_progress: OnProgress) -> AuditList:
    log = host.state.audit
    await log.flush()
    found = await log.entries(
        limit=parameters.limit,
        before=parameters.before,
        operation=parameters.operation,
        actor=parameters.actor,
        outcome=parameters.outcome,
    )
    return AuditList(entries=[AuditReport.model_validate(entry, from_attributes=True) for entry in found])


GET_AUDIT: Final = Operation(
    name="get-audit",
    summary="List audit log entries",
    work=_entries,
    route=HttpRoute(method="GET", path="/v1/audit"),
    command=None,  # `modelhost audit`, which is in no group
    area="state",
    errors=(DatabaseUnavailable,),
    audited=("limit", "before", "operation", "actor", "outcome"),
    example={"limit": 20, "operation": "unload-model"},
    answer={
        "entries": [
            {
                "at": "2026-01-01T12:00:00Z",
                "actor": "anna",
                "face": "http",
                "operation": "unload-model",
                "arguments": {"model_id": "qwen", "force": False},
                "outcome": "ok",
                "duration_ms": 41.5,
                "request_id": "req-5c1b-7",
                "model": "qwen",
            }
        ]
    },
)
