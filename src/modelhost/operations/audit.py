"""The operation on the audit log, and what every face notes in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelhost.errors import DatabaseUnavailable
from modelhost.operations import state_examples
from modelhost.operations.operation import AnyOperation, HttpRoute, OnProgress, Operation
from modelhost.operations.state_host import StateHost
from modelhost.operations.state_values import AuditList, AuditParameters, AuditReport

if TYPE_CHECKING:
    from modelhost.state.records import AuditEntry


async def _entries(host: StateHost, asked: AuditParameters, _on_progress: OnProgress) -> AuditList:
    log = host.state.audit
    await log.flush()
    found = await log.entries(
        limit=asked.limit,
        before=asked.before,
        operation=asked.operation,
        actor=asked.actor,
        outcome=asked.outcome,
    )
    return AuditList(entries=[_report(entry) for entry in found])


def _report(entry: AuditEntry) -> AuditReport:
    return AuditReport.model_validate(entry, from_attributes=True)


GET_AUDIT: Final = Operation(
    name="get-audit",
    summary="Show who had what done, and how it went",
    parameters=AuditParameters,
    result=AuditList,
    work=_entries,
    route=HttpRoute(method="GET", path="/v1/audit"),
    command=None,  # `modelhost audit`, which is in no group
    is_read_only=True,
    area="state",
    errors=(DatabaseUnavailable,),
    audited=("limit", "before", "operation", "actor", "outcome"),
    example=state_examples.AUDIT,
    answer=state_examples.ENTRIES,
)
AUDIT_OPERATIONS: Final[tuple[AnyOperation, ...]] = (GET_AUDIT,)
