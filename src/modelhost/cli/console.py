"""What commands write besides their result: errors, warnings and notes, all on stderr."""

from __future__ import annotations

import sys

import typer


def error(message: str) -> None:
    """Print ``error: message``; the word is red on a terminal."""
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {message}", err=True)


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
    return sys.stderr.isatty()


def printable(text: str) -> str:
    """``text`` of a stranger, such as a tool, on one line and without what a terminal would take as a command."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
