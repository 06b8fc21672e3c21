"""Commands that show what a running host measures: stats, gpus and alerts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from modelhost import lazy
from modelhost.cli import console
from modelhost.cli.operation_commands import operation_command, print_result, result_command, single_command
from modelhost.cli.running_host import RunningHost
from modelhost.operations.machine_stats import GET_GPU_STATS, GpuList
from modelhost.operations.metric_groups import Distribution, ModelMetrics
from modelhost.operations.monitor import GET_ALERTS, GET_METRICS, AlertList, AlertReport, MetricParameters, MetricReport

if TYPE_CHECKING:
    from rich.table import Table

WATCH_SECONDS: Final = 2.0
UNKNOWN: Final = "-"
BARS: Final = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
COURSES: Final[Mapping[str, str]] = {
    "Requests/s": "requests_per_second",
    "Tokens/s": "tokens_per_second",
    "Batch": "avg_batch_size",
}
"""The numbers of the throughput of which history is shown."""

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")]


@operation_command(GET_METRICS)
def stats(host: RunningHost, parameters: MetricParameters, as_json: bool, watch: Watch = False) -> None:
    if not watch:
        print_result(host.call(GET_METRICS, parameters), print_metrics, as_json=as_json)
    elif as_json or not lazy.rich_console.Console().is_terminal:
        for report in _reports(host, parameters):
            if as_json:
                typer.echo(report.model_dump_json())
            else:
                print_metrics(report)
    else:
        with lazy.rich_live.Live(auto_refresh=False) as live:
            for report in _reports(host, parameters):
                live.update(_table(report), refresh=True)


def _reports(host: RunningHost, parameters: MetricParameters) -> Iterator[MetricReport]:
    while True:
        yield host.call(GET_METRICS, parameters)
        time.sleep(WATCH_SECONDS)


def print_metrics(report: MetricReport) -> None:
    """Print a row for each model, and one for the host, on standard output."""
    console.print_table(_table(report))


def _table(report: MetricReport) -> Table:
    numbers = ("Requests", "Failed", "Tokens/s", "In/s", "Batch", "First token", "p50", "p95", "p99", "Cache")
    table = console.new_table("Model", *numbers, right=numbers)
    for name, metrics in report.models.items():
        console.add_row(table, console.printable(name), *_cells(metrics))
    console.add_row(table, "all", *_cells(report.metrics))
    table.caption, table.caption_justify = "\n".join([_summary(report), *_course(report)]), "left"
    return table


def _cells(metrics: ModelMetrics) -> tuple[str, ...]:
    throughput, latency, cache = metrics.throughput, metrics.latency or _NONE, metrics.cache
    first = metrics.time_to_first_token or _NONE
    return (
        f"{metrics.requests.total:,}",
        f"{metrics.requests.failed:,}",
        UNKNOWN if throughput is None else f"{throughput.tokens_per_second:,.1f}",
        UNKNOWN if throughput is None else f"{throughput.input_tokens_per_second:,.1f}",
        UNKNOWN if throughput is None or throughput.avg_batch_size is None else f"{throughput.avg_batch_size:.1f}",
        *map(_duration, (first.p50_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms)),
        UNKNOWN if cache is None or cache.hit_rate is None else f"{cache.hit_rate * 100:.0f} %",
    )


_NONE: Final = Distribution(p50_ms=None, p95_ms=None, p99_ms=None, avg_ms=None, max_ms=None, count=0)


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return UNKNOWN
    return f"{milliseconds:,.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:,.1f} s"


def _course(report: MetricReport) -> Iterator[str]:
    """Yield a line of bars for each of a few numbers, from the beginning of the window to its end."""
    if not report.history:
        return
    step = report.history[0].duration_seconds
    count, begin = -(-report.duration_seconds // step), report.timestamp.timestamp() - report.duration_seconds
    for name, field in COURSES.items():
        values = [0.0] * count
        for point in report.history:
            # The window ends with the present second, which is not over: its parts begin up to a second later.
            place = math.ceil((point.timestamp.timestamp() - begin) / step) - 1
            values[min(max(place, 0), count - 1)] = getattr(point.metrics.throughput, field, None) or 0.0
        if any(values):
            yield f"{name:12} {bars(values)} up to {max(values):,.1f}"


def bars(values: Sequence[float]) -> str:
    """Return a bar for each value; nothing for 0."""
    highest = max(values, default=0)
    return "".join(BARS[math.ceil(value / highest * (len(BARS) - 1))] if value > 0 else BARS[0] for value in values)


def _summary(report: MetricReport) -> str:
    parts = [f"the last {report.duration_seconds} s"]
    if (memory := report.metrics.memory) is not None:
        parts.append(f"memory {memory.system_ram_mb:,} MB")
        if memory.gpu_used_mb is not None and memory.gpu_total_mb is not None:
            parts.append(f"GPUs {memory.gpu_used_mb:,} of {memory.gpu_total_mb:,} MB")
    if report.history_error is not None:
        parts.append(f"without history: {console.printable(report.history_error)}")
    return ", ".join(parts)


stats_app = single_command(
    "stats", GET_METRICS, stats, ("", "--watch", "--duration-seconds 86400 --include-history", "--model qwen --json")
)


def print_gpus(found: GpuList) -> None:
    if not found.gpus:
        console.note("no GPUs: the host sees none of NVIDIA's")
        return
    numbers = ("Load", "Memory", "Temperature", "Power")
    table = console.new_table("GPU", "Name", *numbers, right=numbers)
    for gpu in found.gpus:
        load, power = gpu.compute.utilization, gpu.power
        heat = None if gpu.temperature is None else gpu.temperature.current_c
        console.add_row(
            table,
            str(gpu.id),
            console.printable(gpu.name),
            UNKNOWN if load is None else f"{load * 100:.0f} %",
            f"{gpu.memory.used_mb:,} of {gpu.memory.total_mb:,} MB",
            UNKNOWN if heat is None else f"{heat} C",
            UNKNOWN if power is None or power.current_w is None else f"{power.current_w:.0f} W",
        )
    console.print_table(table)


gpus_app = single_command(
    "gpus", GET_GPU_STATS, result_command(GET_GPU_STATS, print_gpus), ("", "--gpu-ids 0,1", "--json")
)


def print_alerts(found: AlertList) -> None:
    """Print a row for each alert on standard output, the active ones first."""
    if found.active:
        _print_alerts("Active", found.active)
    else:
        console.note("no active alerts")
    if found.history:
        _print_alerts("Past changes", found.history)
    if found.history_error is not None:
        console.note(f"the history cannot be read: {found.history_error}")


def _print_alerts(title: str, listed: Sequence[AlertReport]) -> None:
    typer.echo(typer.style(title, bold=True))
    texts = ("At", "State", "Severity", "Rule", "Subject", "Condition")
    rows = [
        (
            console.local_time(alert.resolved_at or alert.fired_at or alert.started_at),
            *(alert.state, alert.severity, alert.rule, alert.subject, alert.condition, f"{alert.value:g}"),
        )
        for alert in listed
    ]
    console.print_rows((*texts, "Value"), rows, right=("Value",), fold=texts)


alerts_app = single_command(
    "alerts", GET_ALERTS, result_command(GET_ALERTS, print_alerts), ("", "--limit 20", "--rule worker-exits", "--json")
)
