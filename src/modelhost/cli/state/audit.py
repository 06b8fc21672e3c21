"""``modelhost audit``: the audit log of a running host."""

from __future__ import annotations

import typer

from modelhost.cli.operation_commands import examples, operation_command, print_result
from modelhost.cli.running_host import RunningHost
from modelhost.cli.state.tables import print_audit
from modelhost.operations.audit import GET_AUDIT, AuditParameters


@operation_command(GET_AUDIT)
def audit(host: RunningHost, parameters: AuditParameters, as_json: bool) -> None:
    print_result(host.call(GET_AUDIT, parameters), print_audit, as_json=as_json)


app = typer.Typer(add_completion=False)
app.command(
    help=f"{GET_AUDIT.summary}.",
    epilog=examples("audit", "", "--actor anna --limit 20", "--operation unload-model --outcome model_busy", "--json"),
)(audit)
