"""``modelhost state``: what a running host holds, saved and restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import typer

from modelhost.cli import console
from modelhost.cli.operation_options import takes
from modelhost.cli.running_host import RunningHost, print_json
from modelhost.cli.state.tables import print_states, size
from modelhost.operations.operation import AnyOperation, NoParameters
from modelhost.operations.state import (
    CLEAR,
    LIST_STATES,
    LOAD,
    SAVE,
    ClearParameters,
    RestoreParameters,
    SaveParameters,
)


@takes(SAVE, argument="session_id")
def save(host: RunningHost, asked: SaveParameters, as_json: bool) -> None:
    saved = host.call(SAVE, asked)
    if as_json:
        print_json(saved)
        return
    what = f"{saved.models} models, {saved.conversations} conversations"
    typer.echo(f"{saved.state_id}: {what}, {size(saved.size_bytes)}, saved as {saved.session_id}")


@takes(LOAD, argument="session_id")
def load(host: RunningHost, asked: RestoreParameters, as_json: bool) -> None:
    answer = host.call(LOAD, asked)
    if as_json:
        print_json(answer)
    else:
        counts = answer.restored
        what = f"{counts.models} models, {counts.conversations} conversations, {counts.configurations} configurations"
        typer.echo(f"{answer.state_id}: {what}")
        if answer.loading_models:
            console.note(f"still loading: {', '.join(answer.loading_models)}")
        if answer.missing_models:
            console.warning(f"the host does not have: {', '.join(answer.missing_models)}")
    if answer.failed_models:
        console.error(f"could not be loaded: {', '.join(answer.failed_models)}; see modelhost models status")
        raise typer.Exit(1)


@takes(CLEAR, argument="session_id")
def clear(
    host: RunningHost,
    asked: ClearParameters,
    as_json: bool,
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    if asked.session_id is None and asked.older_than_hours is None and not is_sure:
        typer.confirm("Clear all of it, whatever its name and age?", abort=True)
    cleared = host.call(CLEAR, asked)
    if as_json:
        print_json(cleared)
    else:
        typer.echo(f"{cleared.cleared_items} cleared, {size(cleared.space_freed_bytes)} freed")


@takes(LIST_STATES)
def list_(host: RunningHost, asked: NoParameters, as_json: bool) -> None:
    found = host.call(LIST_STATES, asked)
    if as_json:
        print_json(found)
    else:
        print_states(found.sessions)


def _examples(*lines: str) -> str:
    return "\n".join(["Examples:", *(f"  modelhost state {line}" for line in lines)])


COMMANDS: Final[tuple[tuple[AnyOperation, Callable[..., None], str], ...]] = (
    (SAVE, save, _examples("save", "save before-the-update --include-metrics")),
    (LOAD, load, _examples("load", "load before-the-update --wait", "load --state-id state-3f9c1a77b2e0")),
    (CLEAR, clear, _examples("clear before-the-update --include-models", "clear --older-than-hours 720")),
    (LIST_STATES, list_, _examples("list", "list --json")),
)

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Save, restore and clear what a running host holds.")
for _operation, _command, _epilog in COMMANDS:
    app.command(_operation.command, help=f"{_operation.summary}.", epilog=_epilog)(_command)
