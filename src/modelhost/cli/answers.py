"""An answer on its way to the terminal."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import typer

from modelhost.cli import console
from modelhost.cli.answerer import Answerer, Message


def pieces(answerer: Answerer, messages: Sequence[Message], params: Mapping[str, Any]) -> Generator[str]:
    """The text of the answer, piece by piece; a note is printed when it ends at the limit of tokens."""
    with closing(answerer.stream(messages, params)) as chunks:
        for chunk in chunks:
            for choice in chunk.get("choices", ()):
                if piece := (choice.get("delta") or {}).get("content"):
                    yield piece
                if choice.get("finish_reason") == "length":
                    console.note("\n(cut off: the limit of tokens is reached)")


def show(text: str) -> None:
    """Write a piece of an answer; it is seen at once."""
    typer.echo(text, nl=False)
