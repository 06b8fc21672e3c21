"""Commands for what a running host keeps: ``modelhost sessions``, ``modelhost state`` and ``modelhost audit``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from modelhost import json_text
from modelhost.cli import console
from modelhost.cli.operation_commands import (
    Command,
    add_commands,
    operation_command,
    print_result,
    result_command,
    single_command,
)
from modelhost.cli.running_host import Key, RunningHost, Url, running_host
from modelhost.config.paths import broken_link, expand_home
from modelhost.errors import ConfigError
from modelhost.operations import sessions as operations
from modelhost.operations import state
from modelhost.operations.audit import GET_AUDIT, AuditList
from modelhost.plurals import counted

STANDARD: Final = "-"
BATCH_BYTES: Final = 4_000_000
"""The size of one upload of sessions; by default a host accepts 10 MB."""


def print_sessions(found: operations.SessionList) -> None:
    if not found.sessions:
        console.note("no sessions: a chat request with a session_id begins one")
        return
    texts, numbers = ("Session", "Last used", "Model"), ("Messages", "Size")
    rows = [
        (
            *(session.session_id, console.local_time(session.updated_at), session.model or ""),
            *(str(session.message_count), console.format_size(session.size_bytes)),
        )
        for session in found.sessions
    ]
    console.print_rows((*texts, *numbers), rows, right=numbers, fold=texts)
    if found.total > len(found.sessions):
        console.note(f"{len(found.sessions)} of {found.total}; more with --limit")


def print_session(session: operations.SessionReport) -> None:
    for message in session.messages:
        said = _content(message.get("content"))
        if said or not message.get("tool_calls"):
            typer.echo(f"{typer.style(message['role'] + ':', bold=True)} {_harmless(said)}")
        for call in message.get("tool_calls") or ():
            called = call.get("custom") or call["function"]
            name = typer.style(f"{message['role']} calls {console.printable(called['name'])}:", bold=True)
            given = called["input"] if "input" in called else called.get("arguments")
            text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
            typer.echo(f"{name} {console.printable(text)}")


def _content(content: Any) -> str:
    if not isinstance(content, list):
        return content or ""
    return " ".join(part.get("text") or part.get("refusal") or f"[{part.get('type')}]" for part in content)


def _harmless(text: str) -> str:
    """Return untrusted ``text`` with its lines, and without control characters for the terminal."""
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in text)


def rm(
    session_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of sessions.")],
    url: Url = None,
    api_key: Key = None,
) -> None:
    host = running_host(url, api_key)
    for session_id in session_ids:
        deleted = host.call(operations.DELETE_SESSION, operations.OneSession(session_id=session_id))
        what = f"{counted(deleted.messages, 'message')} deleted, {console.format_size(deleted.space_freed_bytes)}"
        console.note(f"{deleted.session_id}: {what}")


def export(
    session_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this session.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of standard output."),
    ] = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    parameters = (
        operations.ExportParameters() if session_id is None else operations.ExportParameters(session_id=session_id)
    )
    exported = running_host(url, api_key).call(operations.EXPORT_SESSIONS, parameters)
    text = json.dumps(exported.model_dump(mode="json"), indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(f"{text}\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"{output}: {broken_link(output) or error.strerror or error}") from None
    console.note(f"{len(exported.sessions)} sessions written to {output}")


def import_(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A file written by an export; `-` is standard input.")],
    url: Url = None,
    api_key: Key = None,
) -> None:
    parameters: operations.ImportParameters = operations.IMPORT_SESSIONS.parse(_exported(source))
    host = running_host(url, api_key)
    imported = not_kept = 0
    for batch in _batches(parameters.sessions):
        answer = host.call(operations.IMPORT_SESSIONS, operations.ImportParameters(sessions=batch))
        imported, not_kept = imported + answer.imported, not_kept + answer.not_kept
    console.note(f"{imported} sessions imported")
    if not_kept:
        console.warning(f"{not_kept} sessions are older than all that the host may keep: raise its --max-sessions")


def _exported(source: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if source == STANDARD else expand_home(source).read_text("utf-8-sig")
        found = json_text.decode(text)
    except OSError as error:
        why = (None if source == STANDARD else broken_link(expand_home(source))) or error.strerror or error
        raise ConfigError(f"{source}: {why}") from None
    except ValueError as error:
        raise ConfigError(f"{source} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{source} is no export of sessions: a JSON object is")
    return found


def _batches(sessions: Sequence[operations.SessionDocument]) -> Iterator[list[operations.SessionDocument]]:
    batch: list[operations.SessionDocument] = []
    length = 0
    for session in sessions:
        own = len(session.model_dump_json().encode())
        if batch and length + own > BATCH_BYTES:
            yield batch
            batch, length = [], 0
        batch.append(session)
        length += own
    if batch:
        yield batch


SESSION_COMMANDS: Final[tuple[Command, ...]] = (
    (
        operations.LIST_SESSIONS,
        result_command(operations.LIST_SESSIONS, print_sessions),
        ("list", "list --limit 10 --json"),
    ),
    (
        operations.SHOW_SESSION,
        result_command(operations.SHOW_SESSION, print_session, argument="session_id"),
        ("show anna-42", "show anna-42 --json"),
    ),
    (operations.DELETE_SESSION, rm, ("rm anna-42",)),
    (operations.EXPORT_SESSIONS, export, ("export > sessions.json", "export anna-42 --output anna.json")),
    (operations.IMPORT_SESSIONS, import_, ("import sessions.json", "import - < sessions.json")),
)

sessions_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show, delete, export and import the sessions of a running host."
)
add_commands(sessions_app, "sessions", SESSION_COMMANDS)


def _print_saved(saved: state.Saved) -> None:
    what = f"{counted(saved.models, 'model')}, {counted(saved.conversations, 'conversation')}"
    typer.echo(f"{saved.state_id}: {what}, {console.format_size(saved.size_bytes)}, saved as {saved.session_id}")


@operation_command(state.LOAD, argument="session_id")
def load(host: RunningHost, parameters: state.RestoreParameters, as_json: bool) -> None:
    answer = host.call(state.LOAD, parameters)
    print_result(answer, _print_restored, as_json=as_json)
    if answer.failed_models:
        console.error(f"could not be loaded: {', '.join(answer.failed_models)}; see modelhost models status")
        raise typer.Exit(1)


def _print_restored(answer: state.Restored) -> None:
    counts = answer.restored
    what = f"{counted(counts.models, 'model')}, {counted(counts.conversations, 'conversation')}"
    configurations = counted(counts.configurations, "configuration")
    typer.echo(f"{answer.state_id}: {what}, {configurations}")
    if answer.loading_models:
        console.note(f"still loading: {', '.join(answer.loading_models)}")
    if answer.missing_models:
        console.warning(f"the host does not have: {', '.join(answer.missing_models)}")


@operation_command(state.CLEAR, argument="session_id")
def clear(
    host: RunningHost,
    parameters: state.ClearParameters,
    as_json: bool,
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    if parameters.session_id is None and parameters.older_than_hours is None and not is_sure:
        typer.confirm("Clear all of it, whatever its name and age?", abort=True)
    print_result(host.call(state.CLEAR, parameters), _print_cleared, as_json=as_json)


def _print_cleared(cleared: state.Cleared) -> None:
    typer.echo(f"{cleared.cleared_items} cleared, {console.format_size(cleared.space_freed_bytes)} freed")


def print_states(found: state.SavedSessions) -> None:
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


STATE_COMMANDS: Final[tuple[Command, ...]] = (
    (
        state.SAVE,
        result_command(state.SAVE, _print_saved, argument="session_id"),
        ("save", "save before-the-update --include-metrics"),
    ),
    (state.LOAD, load, ("load", "load before-the-update --wait", "load --state-id state-3f9c1a77b2e0")),
    (state.CLEAR, clear, ("clear before-the-update --include-models", "clear --older-than-hours 720")),
    (state.LIST_STATES, result_command(state.LIST_STATES, print_states), ("list", "list --json")),
)

state_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Save, restore and clear the state of a running host."
)
add_commands(state_app, "state", STATE_COMMANDS)


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


audit_app = single_command(
    "audit",
    GET_AUDIT,
    result_command(GET_AUDIT, print_audit),
    ("", "--actor anna --limit 20", "--operation unload-model --outcome model_busy", "--json"),
)
