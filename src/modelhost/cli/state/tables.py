"""Tables of sessions, saved states and the audit log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import typer

from modelhost.cli import console
from modelhost.operations.audit import AuditList
from modelhost.operations.sessions import SessionList, SessionReport
from modelhost.operations.state import SavedSessions

if TYPE_CHECKING:
    from rich.table import Table

KB: Final = 1000


def format_size(count: int) -> str:
    """Format an amount of bytes."""
    return f"{count:,} B" if count < KB else f"{count / KB:,.1f} kB"


def print_sessions(found: SessionList) -> None:
    """Print a row for each session on standard output."""
    if not found.sessions:
        console.note("no sessions: a chat request with a session_id begins one")
        return
    table = _table("Session", "Last used", "Model", right=("Messages", "Size"))
    for session in found.sessions:
        used = _local_time(session.updated_at)
        _add_row(
            table,
            session.session_id,
            used,
            session.model or "",
            str(session.message_count),
            format_size(session.size_bytes),
        )
    console.print_table(table)
    if found.total > len(found.sessions):
        console.note(f"{len(found.sessions)} of {found.total}; more with --limit")


def print_session(session: SessionReport) -> None:
    """Print a conversation on standard output."""
    for message in session.messages:
        said = _content(message.get("content"))
        if said or not message.get("tool_calls"):
            typer.echo(f"{typer.style(message['role'] + ':', bold=True)} {_harmless(said)}")
        for call in message.get("tool_calls") or ():
            called = call.get("custom") or call["function"]
            name = typer.style(f"{message['role']} calls {console.printable(called['name'])}:", bold=True)
            given = called["input"] if "input" in called else called.get("arguments")
            typer.echo(f"{name} {console.printable(_as_text(given))}")


def print_states(found: SavedSessions) -> None:
    """Print a row for each saved state on standard output."""
    if not found.sessions:
        console.note("no saved states: modelhost state save")
        return
    table = _table("Saved as", "State", "Saved at", right=("Models", "Conversations", "Size"))
    for session in found.sessions:
        for state in session.states:
            counts = str(state.models), str(state.conversations), format_size(state.size_bytes)
            _add_row(table, session.session_id, state.state_id, _local_time(state.created_at), *counts)
    console.print_table(table)


def print_audit(found: AuditList) -> None:
    """Print a row for each entry of the audit log on standard output."""
    if not found.entries:
        console.note("nothing that matches is in the audit log")
        return
    headings = ("At", "Who", "By", "Operation", "Outcome", "ms", "Arguments")
    table = console.new_table(*headings, right=("ms",), fold=[name for name in headings if name != "ms"])
    for entry in found.entries:
        what = (_local_time(entry.at), entry.actor, entry.face, entry.operation, entry.outcome)
        _add_row(table, *what, f"{entry.duration_ms:,.1f}", _pairs(entry.arguments))
    console.print_table(table)


def _table(*texts: str, right: tuple[str, ...]) -> Table:
    return console.new_table(*texts, *right, right=right, fold=texts)


def _add_row(table: Table, *cells: str) -> None:
    console.add_row(table, *map(console.printable, cells))


def _local_time(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _content(content: Any) -> str:
    if not isinstance(content, list):
        return content or ""
    return " ".join(part.get("text") or part.get("refusal") or f"[{part.get('type')}]" for part in content)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _harmless(text: str) -> str:
    """Return untrusted ``text`` with its lines, and without control characters for the terminal."""
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in text)


def _pairs(arguments: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_as_text(value)}" for name, value in arguments.items())
