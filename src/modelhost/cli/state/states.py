"""``modelhost state``: what a running host holds, saved and restored."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from modelhost.cli import console
from modelhost.cli.operation_commands import Command, add_commands, operation_command, print_result, result_command
from modelhost.cli.running_host import RunningHost
from modelhost.operations import state as operations
from modelhost.plurals import counted


def _print_saved(saved: operations.Saved) -> None:
    what = f"{counted(saved.models, 'model')}, {counted(saved.conversations, 'conversation')}"
    typer.echo(f"{saved.state_id}: {what}, {console.format_size(saved.size_bytes)}, saved as {saved.session_id}")


@operation_command(operations.LOAD, argument="session_id")
def load(host: RunningHost, parameters: operations.RestoreParameters, as_json: bool) -> None:
    answer = host.call(operations.LOAD, parameters)
    print_result(answer, _print_restored, as_json=as_json)
    if answer.failed_models:
        console.error(f"could not be loaded: {', '.join(answer.failed_models)}; see modelhost models status")
        raise typer.Exit(1)


def _print_restored(answer: operations.Restored) -> None:
    counts = answer.restored
    what = f"{counted(counts.models, 'model')}, {counted(counts.conversations, 'conversation')}"
    configurations = counted(counts.configurations, "configuration")
    typer.echo(f"{answer.state_id}: {what}, {configurations}")
    if answer.loading_models:
        console.note(f"still loading: {', '.join(answer.loading_models)}")
    if answer.missing_models:
        console.warning(f"the host does not have: {', '.join(answer.missing_models)}")


@operation_command(operations.CLEAR, argument="session_id")
def clear(
    host: RunningHost,
    parameters: operations.ClearParameters,
    as_json: bool,
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    if parameters.session_id is None and parameters.older_than_hours is None and not is_sure:
        typer.confirm("Clear all of it, whatever its name and age?", abort=True)
    print_result(host.call(operations.CLEAR, parameters), _print_cleared, as_json=as_json)


def _print_cleared(cleared: operations.Cleared) -> None:
    typer.echo(f"{cleared.cleared_items} cleared, {console.format_size(cleared.space_freed_bytes)} freed")


def print_states(found: operations.SavedSessions) -> None:
    """Print a row for each saved state on standard output."""
    if not found.sessions:
        console.note("no saved states: modelhost state save")
        return
    texts, numbers = ("Saved as", "State", "Saved at"), ("Models", "Conversations", "Size")
    rows = [
        (
            *(session.session_id, state.state_id, console.local_time(state.created_at)),
            *(str(state.models), str(state.conversations), console.format_size(state.size_bytes)),
        )
        for session in found.sessions
        for state in session.states
    ]
    console.print_rows((*texts, *numbers), rows, right=numbers, fold=texts)


COMMANDS: Final[tuple[Command, ...]] = (
    (
        operations.SAVE,
        result_command(operations.SAVE, _print_saved, argument="session_id"),
        ("save", "save before-the-update --include-metrics"),
    ),
    (operations.LOAD, load, ("load", "load before-the-update --wait", "load --state-id state-3f9c1a77b2e0")),
    (operations.CLEAR, clear, ("clear before-the-update --include-models", "clear --older-than-hours 720")),
    (operations.LIST_STATES, result_command(operations.LIST_STATES, print_states), ("list", "list --json")),
)

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Save, restore and clear the state of a running host."
)
add_commands(app, "state", COMMANDS)
