"""``modelhost alerts``: the alerts of a running host."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from modelhost.cli import console
from modelhost.cli.operation_commands import examples, result_command
from modelhost.operations.alerts import GET_ALERTS, AlertList, AlertReport


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
    texts = ("At", "State", "Severity", "Rule", "Subject", "Condition")
    rows = [
        (
            console.local_time(alert.resolved_at or alert.fired_at or alert.started_at),
            *(alert.state, alert.severity, alert.rule, alert.subject, alert.condition, f"{alert.value:g}"),
        )
        for alert in listed
    ]
    console.print_rows((*texts, "Value"), rows, right=("Value",), fold=texts)


app = typer.Typer(add_completion=False)
app.command(
    help=f"{GET_ALERTS.summary}.", epilog=examples("alerts", "", "--limit 20", "--rule worker-exits", "--json")
)(result_command(GET_ALERTS, print_alerts))
