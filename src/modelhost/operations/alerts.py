"""The operation on alerts: its parameters, its result and its declaration."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from modelhost.errors import DatabaseUnavailable
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Result, Timestamp

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.monitor.alerts.states import Alert


class AlertParameters(Parameters):
    """Which alerts."""

    limit: int = Field(default=100, ge=0, le=10_000, strict=False, description="Maximum number of past changes.")
    before: Timestamp | None = Field(default=None, description="Only changes before this time: `2026-01-01T12:00:00Z`.")
    rule: str | None = Field(default=None, description="Only alerts of this rule.")


class AlertReport(Result):
    """One alert."""

    rule: str = Field(description="The name of the rule.")
    subject: str = Field(description="The model, memory pool or GPU; empty for the host as a whole.")
    host: str = Field(description="The name of the host: its machine and data directory.")
    severity: str = Field(description="`info`, `warning` or `critical`.")
    state: str = Field(description="`pending`, `firing` or `resolved`.")
    condition: str
    value: float = Field(description="The last value that met the condition.")
    summary: str = Field(description="What it means, and what to do.")
    started_at: datetime = Field(description="Since when the condition holds, or held.")
    fired_at: datetime | None
    resolved_at: datetime | None


class AlertList(Result):
    """Alerts of now and of the past."""

    active: list[AlertReport] = Field(description="The alerts of this host that are pending or firing.")
    history: list[AlertReport] = Field(
        description="Alerts that fired and were resolved, the newest change first; of all hosts with this database."
    )
    history_error: str | None = Field(default=None, description="Why the history cannot be read; it is then empty.")


def active_alerts(host: Host, rule: str | None = None) -> AlertList:
    """Return the active alerts without their history, which needs no database."""
    return AlertList(active=_reports(alert for alert in host.alerts.active if rule in {None, alert.rule}), history=[])


async def _alerts(host: Host, parameters: AlertParameters, _on_progress: OnProgress) -> AlertList:
    active = active_alerts(host, parameters.rule)
    if not parameters.limit:
        return active
    try:
        past = await host.alerts.history(limit=parameters.limit, before=parameters.before, rule=parameters.rule)
    except DatabaseUnavailable as error:  # what is active is known all the same, and may say why
        return active.model_copy(update={"history_error": error.message})
    return AlertList(active=active.active, history=_reports(past))


def _reports(alerts: Iterable[Alert]) -> list[AlertReport]:
    return [_report(alert) for alert in alerts]


def _report(alert: Alert) -> AlertReport:
    times = {name: _time(getattr(alert, name)) for name in ("started_at", "fired_at", "resolved_at")}
    others = {name: getattr(alert, name) for name in AlertReport.model_fields if name not in times}
    return AlertReport.model_validate({**others, **times})


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


_EXAMPLE: Final[dict[str, Any]] = {
    "rule": "worker-exits",
    "subject": "qwen",
    "host": "gpu-1-5d41402a",
    "severity": "critical",
    "state": "firing",
    "condition": "increase(worker_exits, 600 s) >= 3",
    "value": 3.0,
    "summary": "The model's worker keeps ending. `modelhost models logs MODEL` shows its last lines.",
    "started_at": "2026-01-01T12:00:00Z",
    "fired_at": "2026-01-01T12:00:00Z",
    "resolved_at": None,
}

GET_ALERTS: Final = Operation(
    name="get-alerts",
    summary="List active alerts and their history",
    work=_alerts,
    route=HttpRoute(method="GET", path="/v1/monitor/alerts"),
    command=None,  # `modelhost alerts`, which is in no group
    is_read_only=True,
    area="monitor",
    audited=("limit", "before", "rule"),
    example={"limit": 20, "rule": "worker-exits"},
    answer={"active": [_EXAMPLE], "history": [_EXAMPLE], "history_error": None},
)
