"""What commands write besides their result: errors, warnings and notes, all on stderr."""

from __future__ import annotations

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
