"""Sessions, saved states and the audit log for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import typer

from modelhost.cli import console
from modelhost.operations.audit import AuditReport
from modelhost.operations.sessions import SessionList, SessionReport
from modelhost.operations.state import SavedSession

if TYPE_CHECKING:
    from rich.table import Table

_PIPED_WIDTH: Final = 1000  # a table that is not for a terminal keeps each row on one line
KB: Final = 1000


def local_time(at: datetime) -> str:
    """A moment as people here write it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Bytes for a person."""
    return f"{count:,} B" if count < KB else f"{count / KB:,.1f} kB"


def print_sessions(found: SessionList) -> None:
    """Print a row for each session on standard output."""
    if not found.sessions:
        console.note("no sessions: a chat request with a session_id begins one")
        return
    table = _table(("Session", "Last used", "Model"), ("Messages", "Size"))
    for session in found.sessions:
        table.add_row(
            *_texts(session.session_id, local_time(session.updated_at), session.model or ""),
            str(session.message_count),
            size(session.size_bytes),
        )
    _print(table)
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


def _content(content: Any) -> str:
    if not isinstance(content, list):
        return content or ""
    return " ".join(part.get("text") or part.get("refusal") or f"[{part.get('type')}]" for part in content)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _harmless(text: str) -> str:
    """``text`` of a stranger with its lines, and without what a terminal would take as a command."""
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in text)


def print_states(found: Sequence[SavedSession]) -> None:
    """Print a row for each saved state on standard output."""
    if not found:
        console.note("no saved states: modelhost state save")
        return
    table = _table(("Saved as", "State", "Saved at"), ("Models", "Conversations", "Size"))
    for session in found:
        for state in session.states:
            table.add_row(
                *_texts(session.session_id, state.state_id, local_time(state.created_at)),
                str(state.models),
                str(state.conversations),
                size(state.size_bytes),
            )
    _print(table)


def print_audit(entries: Sequence[AuditReport]) -> None:
    """Print a row for each entry of the audit log on standard output."""
    if not entries:
        console.note("nothing that matches is in the audit log")
        return
    table = _table(("At", "Who", "By", "Operation", "Outcome"), ("ms",))
    table.add_column("Arguments", overflow="fold")
    for entry in entries:
        table.add_row(
            *_texts(local_time(entry.at), entry.actor, entry.face, entry.operation, entry.outcome),
            f"{entry.duration_ms:,.1f}",
            *_texts(_pairs(entry.arguments)),
        )
    _print(table)


def _pairs(arguments: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_as_text(value)}" for name, value in arguments.items())


def _texts(*values: str) -> Iterable[Any]:
    from rich.text import Text  # noqa: PLC0415  (slow to import, and only tables need it)

    return [Text(console.printable(value)) for value in values]


def _table(texts: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in texts:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _print(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415

    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=_PIPED_WIDTH)).print(table)
