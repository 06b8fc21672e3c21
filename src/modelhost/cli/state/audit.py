"""``modelhost audit``: who had what done on a running host."""

from __future__ import annotations

from typing import Final

import typer

from modelhost.cli.operation_options import takes
from modelhost.cli.running_host import RunningHost, print_json
from modelhost.cli.state.tables import print_audit
from modelhost.operations.audit import GET_AUDIT, AuditParameters

EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost audit\n"
    "  modelhost audit --actor anna --limit 20\n"
    "  modelhost audit --operation unload-model --outcome model_busy\n"
    "  modelhost audit --json"
)


@takes(GET_AUDIT)
def audit(host: RunningHost, asked: AuditParameters, as_json: bool) -> None:
    found = host.call(GET_AUDIT, asked)
    if as_json:
        print_json(found)
    else:
        print_audit(found.entries)


app = typer.Typer(add_completion=False)
app.command(help=f"{GET_AUDIT.summary}.", epilog=EXAMPLES)(audit)
