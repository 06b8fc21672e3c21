"""The operations on metrics of the host and of its models, and on alerts; those of the machine: `machine_stats`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

from pydantic import Field

from modelhost.errors import DatabaseUnavailable, InvalidRequest, ModelNotFound
from modelhost.monitor.cells import HOST, Cell
from modelhost.monitor.windows import Selection, Window
from modelhost.operations.machine_stats import machine_memory, megabytes, ratio, worker_bytes
from modelhost.operations.metric_groups import (
    GpuSummary,
    HostMetrics,
    Memory,
    MetricName,
    ModelMetrics,
    groups_of,
    sketches_of,
)
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Result, TextList, Timestamp
from modelhost.plurals import counted
from modelhost.workers.gpu_stats import gpu_stats

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.monitor.alerts.states import Alert

ALL: Final[tuple[MetricName, ...]] = get_args(MetricName)
POINTS: Final = 60
"""How many parts history has, about."""
FEWEST_POINTS, MOST_POINTS = 24, 90
"""How many there are, by the length of the window."""

_DURATION: Final = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_in(duration: str) -> int:
    """Return the seconds of ``duration``: a number of them, or with a unit; raises InvalidRequest if it is neither."""
    found = _DURATION.fullmatch(duration)
    if found is None or not int(found[1]):
        raise InvalidRequest(
            f'duration: "{duration}" is none. Give seconds, or a number with a unit: 300, 15m, 6h, 7d.',
            param="duration",
        )
    return int(found[1]) * _SECONDS[found[2]]


class MetricParameters(Parameters):
    """Which metrics, of which time."""

    duration_seconds: int = Field(
        default=60, ge=1, strict=False, description="The window, in seconds up to now; at most the kept history."
    )
    include_history: bool = Field(
        default=False,
        strict=False,
        description=f"Whether the result has parts of the window, too, {FEWEST_POINTS} to {MOST_POINTS} of them.",
    )
    metrics: Annotated[list[MetricName] | None, TextList()] = Field(
        default=None, description="Only these groups, and `requests`, which is always there. Default: all."
    )
    model: str | None = Field(
        default=None, description="Only this model: one of the host, or one that did something in the window."
    )


class HistoryPoint(Result):
    """A part of a window."""

    timestamp: datetime = Field(description="Its beginning.")
    duration_seconds: int
    metrics: ModelMetrics


class MetricReport(Result):
    """What happened in a window that ends now."""

    timestamp: datetime = Field(description="When it was measured: up to `metrics_cache_seconds` ago.")
    duration_seconds: int
    metrics: HostMetrics = Field(description="Of the host, or of the one model that was requested.")
    models: dict[str, ModelMetrics] = Field(description="Of each model that did something, by name.")
    history: list[HistoryPoint] | None = Field(
        default=None, description="Parts of the window in which something happened; `null` if not requested."
    )
    history_error: str | None = Field(
        default=None,
        description="Why stored history cannot be read, or not all of it. The numbers are then those of the rest, "
        "or those that wait to be written.",
    )


async def _metrics(host: Host, parameters: MetricParameters, _on_progress: OnProgress) -> MetricReport:
    key = f"{GET_METRICS.name} {parameters.model_dump_json()}"
    return await host.monitor.answers.get(key, lambda: _measured(host, parameters))


async def _measured(host: Host, parameters: MetricParameters) -> MetricReport:
    longest, seconds = host.monitor.longest_seconds, parameters.duration_seconds
    if seconds > longest:
        kept = ", ".join(f"{level.keep} (by {level.step} s)" for level in host.monitor.levels)
        raise InvalidRequest(
            f"duration_seconds: history reaches back {longest} seconds at most (metrics_history); kept are: {kept}.",
            param="duration_seconds",
        )
    only, unknown = _selected(host, parameters.model)
    wanted = frozenset(ALL if parameters.metrics is None else parameters.metrics)
    points, selection = POINTS if parameters.include_history else 0, Selection(model=only, sketches=sketches_of(wanted))
    history_error = None
    try:
        window = await host.monitor.window(seconds, points=points, only=selection)
    except DatabaseUnavailable as error:
        history_error = error.message
        window = await host.monitor.unwritten_window(seconds, points=points, only=selection)
    if window.unreadable:
        intervals = counted(window.unreadable, "stored interval")
        history_error = f"{intervals} cannot be read: damaged, or of another version of modelhost. The rest is here."
    if unknown is not None and not window.frame:
        raise unknown
    now = await _now_groups(host, wanted)
    # Percentiles of many models and points take a while.
    report = await asyncio.to_thread(report_of, window, wanted, now, is_whole=only is None)
    history = report.history if parameters.include_history else None
    return report.model_copy(update={"history": history, "history_error": history_error})


def _selected(host: Host, model: str | None) -> tuple[str | None, ModelNotFound | None]:
    """Return the main name of a model, if one is selected; the error for one that only history may have.

    That is one of another host of the database, or one that was removed.
    """
    try:
        return None if model is None else host.find(model).name, None
    except ModelNotFound as error:
        return model, error


def report_of(window: Window, wanted: frozenset[str], now: Mapping[str, Any], *, is_whole: bool) -> MetricReport:
    """Return the groups of ``wanted`` in a window; ``is_whole``: it is not of one model; ``now``: those of now."""
    return MetricReport(
        timestamp=datetime.fromtimestamp(window.end, UTC),
        duration_seconds=window.seconds,
        metrics=HostMetrics(**groups_of(window.total, window.covered_seconds, wanted, is_whole=is_whole), **now),
        models={
            name: ModelMetrics(**groups_of(cell, window.covered_seconds, wanted))
            for name, cell in sorted(window.frame.items())
            if name != HOST
        },
        history=[
            HistoryPoint(
                timestamp=datetime.fromtimestamp(point.start, UTC),
                duration_seconds=point.seconds,
                metrics=ModelMetrics(**groups_of(point.total, point.covered_seconds, wanted, is_whole=is_whole)),
            )
            for point in window.points
        ],
    )


async def _now_groups(host: Host, wanted: Collection[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    if {"memory", "gpu"}.isdisjoint(wanted):
        return found
    gpus, machine = await asyncio.gather(asyncio.to_thread(gpu_stats), asyncio.to_thread(machine_memory))
    if "memory" in wanted:
        used, total = sum(gpu.used_bytes for gpu in gpus), sum(gpu.total_bytes for gpu in gpus)
        found["memory"] = Memory(
            gpu_used_mb=megabytes(used) if gpus else None,
            gpu_total_mb=megabytes(total) if gpus else None,
            gpu_utilization=ratio(used, total) if gpus else None,
            system_ram_mb=megabytes(machine.own + worker_bytes(host, on_gpus=False)) or 0,
        )
    if "gpu" in wanted:
        busy = [gpu.utilization for gpu in gpus if gpu.utilization is not None]
        power = [gpu.power_w for gpu in gpus if gpu.power_w is not None]
        found["gpu"] = GpuSummary(
            count=len(gpus),
            utilization=sum(busy) / len(busy) if busy else None,
            power_w=sum(power) if power else None,
        )
    return found


def example_metrics() -> MetricReport:
    """Return what a window with a few requests could give."""
    cell = Cell()
    for name, amount in (("requests", 745), ("failed", 3), ("error:queue_full", 3), ("tokens_out", 9030)):
        cell.count(name, amount)
    for seconds in (0.045, 0.05, 0.12, 0.2):
        cell.observe("latency", seconds)
    cell.count("host_work_seconds", 210)
    cell.count("host_busy_seconds", 50)
    wanted = frozenset({"throughput", "latency", "memory"})
    memory = Memory(gpu_used_mb=14336, gpu_total_mb=24576, gpu_utilization=0.58, system_ram_mb=2048)
    return MetricReport(
        timestamp=datetime(2026, 1, 1, 12, tzinfo=UTC),
        duration_seconds=60,
        metrics=HostMetrics(**groups_of(cell, 60, wanted, is_whole=True), memory=memory),
        models={"qwen": ModelMetrics(**groups_of(cell, 60, wanted))},
        history=None,
    )


GET_METRICS: Final = Operation(
    name="get-metrics",
    summary="Show the performance of the host and of its models over a window of time",
    work=_metrics,
    route=HttpRoute(method="GET", path="/v1/monitor/metrics"),
    command=None,  # `modelhost stats`, which is in no group
    area="monitor",
    errors=(ModelNotFound,),
    audited=("duration_seconds", "metrics", "model"),
    example={"duration_seconds": 60, "metrics": ["throughput", "latency", "memory"]},
    answer=example_metrics,
)


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
    return [AlertReport.model_validate(alert, from_attributes=True) for alert in alerts]


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
    area="monitor",
    audited=("limit", "before", "rule"),
    example={"limit": 20, "rule": "worker-exits"},
    answer={"active": [_EXAMPLE], "history": [_EXAMPLE], "history_error": None},
)
