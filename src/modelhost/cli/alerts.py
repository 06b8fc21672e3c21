"""``modelhost alerts``: the alerts of a running host."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import typer

from modelhost.cli import console
from modelhost.cli.operation_commands import examples, operation_command, print_result
from modelhost.cli.running_host import RunningHost
from modelhost.operations.alerts import GET_ALERTS, AlertList, AlertParameters, AlertReport


@operation_command(GET_ALERTS)
def alerts(host: RunningHost, parameters: AlertParameters, as_json: bool) -> None:
    print_result(host.call(GET_ALERTS, parameters), print_alerts, as_json=as_json)


def print_alerts(found: AlertList) -> None:
    """Print a row for each alert on standard output, the active ones first."""
    if found.active:
        _print("Active", found.active)
    else:
        console.note("no active alerts")
    if found.history:
        _print("Past changes", found.history)
    if found.history_error is not None:
        console.note(f"the history cannot be read: {found.history_error}")


def _print(title: str, listed: Sequence[AlertReport]) -> None:
    typer.echo(typer.style(title, bold=True))
    headings = ("At", "State", "Severity", "Rule", "Subject", "Condition", "Value")
    table = console.new_table(*headings, right=("Value",), fold=[name for name in headings if name != "Value"])
    for alert in listed:
        at = _local_time(alert.resolved_at or alert.fired_at or alert.started_at)
        cells = (at, alert.state, alert.severity, alert.rule, alert.subject, alert.condition, f"{alert.value:g}")
        console.add_row(table, *map(console.printable, cells))
    console.print_table(table)


def _local_time(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


app = typer.Typer(add_completion=False)
app.command(
    help=f"{GET_ALERTS.summary}.", epilog=examples("alerts", "", "--limit 20", "--rule worker-exits", "--json")
)(alerts)
