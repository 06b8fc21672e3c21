"""What commands write besides their result: errors, warnings and notes, all on stderr."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import typer


def error(message: str) -> None:
    """Print ``error: message``; the word is red on a terminal."""
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {message}", err=True)


def refused(fault: OSError) -> None:
    """Say what the operating system refused; if that was to write the result, no more of it is tried."""
    what = fault.filename or "standard output, or what else it was to write or read"
    with suppress(OSError):
        error(f"The operating system refused {what}: {fault.strerror or fault}.")
    try:
        flush()
    except OSError:  # or the interpreter says so once more at its end
        with Path(os.devnull).open("wb") as nowhere, suppress(OSError):
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def flush() -> None:
    """Write what is left of the result.

    Raises:
        OSError: it cannot be written.
    """
    if sys.stdout is not None:  # the program may be started with its output closed
        sys.stdout.flush()


def warning(message: str) -> None:
    """Print ``warning: message``; the word is yellow on a terminal."""
    typer.echo(f"{typer.style('warning:', fg='yellow', bold=True)} {message}", err=True)


def note(message: str) -> None:
    """Print a remark; dim on a terminal."""
    typer.echo(typer.style(message, dim=True), err=True)


def thought(piece: str) -> None:
    """Print a piece of what a model thinks before it answers, dim; on a terminal only, as it is not for logs."""
    if is_watched():
        typer.echo(typer.style(piece, dim=True), err=True, nl=False)


def is_watched() -> bool:
    """Whether a person sees what is written besides, and not a file."""
    return sys.stderr is not None and sys.stderr.isatty()


def printable(text: str) -> str:
    """``text`` of a stranger, such as a tool, on one line and without what a terminal would take as a command."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
