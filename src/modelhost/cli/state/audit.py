"""``modelhost audit``: the audit log of a running host."""

from __future__ import annotations

import json
from typing import Any

import typer

from modelhost.cli import console
from modelhost.cli.operation_commands import examples, result_command
from modelhost.operations.audit import GET_AUDIT, AuditList


def print_audit(found: AuditList) -> None:
    """Print a row for each entry of the audit log on standard output."""
    if not found.entries:
        console.note("nothing that matches is in the audit log")
        return
    headings = ("At", "Who", "By", "Operation", "Outcome", "ms", "Arguments")
    rows = [
        (
            *(console.local_time(entry.at), entry.actor, entry.face, entry.operation, entry.outcome),
            f"{entry.duration_ms:,.1f}",
            " ".join(f"{name}={_as_text(value)}" for name, value in entry.arguments.items()),
        )
        for entry in found.entries
    ]
    console.print_rows(headings, rows, right=("ms",), fold=[name for name in headings if name != "ms"])


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


app = typer.Typer(add_completion=False)
app.command(
    help=f"{GET_AUDIT.summary}.",
    epilog=examples("audit", "", "--actor anna --limit 20", "--operation unload-model --outcome model_busy", "--json"),
)(result_command(GET_AUDIT, print_audit))
