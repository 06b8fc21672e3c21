"""The output of commands: results as JSON or tables; errors, warnings, notes and progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from modelhost import lazy

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table
    from rich.text import Text

    from modelhost.operations.operation import OnProgress

PIPED_WIDTH: Final = 1000  # a table that is not for a terminal keeps each row on one line


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def new_table(*headings: str, right: Collection[str] = (), fold: Collection[str] = ()) -> Table:
    """Return a table with these headings; columns in ``right`` are right-aligned, those in ``fold`` wrap long text."""
    table = lazy.rich_table.Table(box=None, pad_edge=False, header_style="bold", show_header=any(headings))
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in right else "left",
            overflow="fold" if heading in fold else "ellipsis",
        )
    return table


def add_row(table: Table, *cells: str | Text, style: str = "") -> None:
    """Add cells whose text is printed literally: names may contain rich's markup."""
    table.add_row(*(lazy.rich_text.Text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)


def print_table(table: Table) -> None:
    terminal = lazy.rich_console.Console()
    (terminal if terminal.is_terminal else lazy.rich_console.Console(width=PIPED_WIDTH)).print(table)


def print_rows(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = (), fold: Collection[str] = ()
) -> None:
    """Print a table of untrusted texts on standard output, each on one line."""
    table = new_table(*headings, right=right, fold=fold)
    for cells in rows:
        add_row(table, *map(printable, cells))
    print_table(table)


def format_size(count: int) -> str:
    return f"{count:,} B" if count < 1000 else f"{count / 1000:,.1f} kB"


def local_time(at: datetime) -> str:
    """Format a time as that of the user's clock."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def shown_progress(description: str) -> Iterator[OnProgress]:
    """Yield a callback that shows progress, and its message in the place of ``description``, as a bar on a terminal."""
    with new_bar(lazy.rich_progress.TextColumn("{task.percentage:>3.0f} %")) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda progress: bar.update(
            task, completed=progress.fraction or 0.0, description=progress.message or description
        )


def new_bar(*columns: ProgressColumn, terminal: Console | None = None) -> Progress:
    """Return a progress bar on stderr, followed by ``columns``, that disappears at its end; none without a terminal."""
    terminal = terminal or lazy.rich_console.Console(stderr=True)
    return lazy.rich_progress.Progress(
        lazy.rich_progress.TextColumn("{task.description}", markup=False),
        lazy.rich_progress.BarColumn(),
        *columns,
        console=terminal,
        disable=not terminal.is_terminal,
        transient=True,
        # Logs keep their own way to stderr: they are bound to it for longer than a bar lives.
        redirect_stdout=False,
        redirect_stderr=False,
    )


def error(message: str) -> None:
    """Print ``error: message``; the word is red on a terminal."""
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {message}", err=True)


def report_os_error(fault: OSError) -> None:
    """Report an error of the operating system; if stdout cannot be written, stop writing to it."""
    what = fault.filename or "standard output, or what else it was to write or read"
    with suppress(OSError):
        error(f"The operating system refused {what}: {fault.strerror or fault}.")
    try:
        flush()
    except OSError:  # otherwise the interpreter reports it again at exit
        with Path(os.devnull).open("wb") as nowhere, suppress(OSError):
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def flush() -> None:
    """Flush standard output; raises OSError if it cannot be written."""
    if sys.stdout is not None:  # None if the program was started with its output closed
        sys.stdout.flush()


def warning(message: str) -> None:
    """Print ``warning: message``; the word is yellow on a terminal."""
    typer.echo(f"{typer.style('warning:', fg='yellow', bold=True)} {message}", err=True)


def note(message: str) -> None:
    """Print a remark; dim on a terminal."""
    typer.echo(typer.style(message, dim=True), err=True)


def print_thought(piece: str) -> None:
    """Print a piece of a model's reasoning, dim, on a terminal only."""
    if stderr_is_terminal():
        typer.echo(typer.style(piece, dim=True), err=True, nl=False)


def stderr_is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def printable(text: str) -> str:
    """Return untrusted ``text`` on one line and without control characters for the terminal."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
