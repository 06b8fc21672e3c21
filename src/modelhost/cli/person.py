"""The person at the terminal, asked whether a tool may run and for what an MCP server wants to know."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import typer

from modelhost.cli import console
from modelhost.cli.elicitation_form import DeclinedError, fill_in

PROMPT: Final = "may it? [y/N] "
ALWAYS_PROMPT: Final = "may it? [y/N, a: always in this conversation] "
Content = dict[str, str | int | float | bool | list[str] | None]


def read_from_terminal(prompt: str) -> str:
    """A line that the person types. The prompt goes to standard error: the answer of a model may go into a file."""
    typer.echo(prompt, err=True, nl=False)
    return input()


@dataclass(frozen=True, slots=True, kw_only=True)
class Elicited:
    """What the person says to a server."""

    action: Literal["accept", "decline", "cancel"]
    content: Content | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whoever sits there. ``is_there`` is false without a terminal: then nothing is agreed to, at once."""

    is_there: bool
    read_line: Callable[[str], str] = read_from_terminal
    """Prints a prompt and gives the line; raises ``EOFError`` at the end of the input."""
    agreed: set[tuple[str, str]] = field(default_factory=set)
    """Servers and tools of theirs that may always run, for as long as the conversation lasts."""

    @classmethod
    def at_the_terminal(cls) -> Person:
        return cls(is_there=sys.stdin.isatty())

    def approves(self, question: Mapping[str, Any]) -> bool | None:
        """Whether what ``question`` (a ``modelhost.question`` of kind ``approval``) is about may happen.

        ``None``: nobody is there to say so.
        """
        what = _what_to_approve(question)
        if not self.is_there:
            console.note(f"{what}\nit may not: nobody is there to ask")
            return None
        is_tool = question.get("what") != "sampling"
        tool = str(question["server"]), str(question.get("tool"))
        if is_tool and tool in self.agreed:
            console.note(f"{what}\nit may, as agreed")
            return True
        console.note(what)
        try:
            said = self.read_line(ALWAYS_PROMPT if is_tool else PROMPT).strip().lower()
        except EOFError:
            console.note("")
            return False
        is_always = is_tool and said in {"a", "always"}
        if is_always:
            self.agreed.add(tool)
        return is_always or said in {"y", "yes"}

    def elicited(self, question: Mapping[str, Any]) -> Elicited:
        """What to tell the server that asks ``question`` (a ``modelhost.question`` of kind ``elicitation``)."""
        asks = f"⚙ {console.printable(str(question['server']))} asks: {console.printable(str(question['message']))}"
        if not self.is_there:
            console.note(f"{asks}\nit is declined: nobody is there to answer")
            return Elicited(action="decline")
        console.note(asks)
        try:
            if question.get("mode") == "url":
                return self._followed(str(question.get("url")))
            return Elicited(action="accept", content=fill_in(question["schema"], self.read_line))
        except DeclinedError:
            return Elicited(action="decline")
        except EOFError:
            console.note("")
            return Elicited(action="cancel")

    def _followed(self, url: str) -> Elicited:
        console.note(f"open this in a browser, if you trust it: {console.printable(url)}")
        is_done = self.read_line("done? [y/N] ").strip().lower() in {"y", "yes"}
        return Elicited(action="accept" if is_done else "decline")


def _what_to_approve(question: Mapping[str, Any]) -> str:
    server, arguments = console.printable(str(question["server"])), _shown(question["arguments"])
    if question.get("what") == "sampling":
        return f"⚙ {server} wants a model to write for it: {arguments}"
    hints = question.get("annotations") or {}
    is_destructive = hints.get("destructiveHint") is True and hints.get("readOnlyHint") is not True
    risk = " (it says that it can destroy)" if is_destructive else ""
    return f"⚙ {server}.{console.printable(str(question['tool']))}{risk} wants to run with {arguments}"


def _shown(arguments: Any) -> str:
    """All of them: what is not seen is not agreed to."""
    return console.printable(json.dumps(arguments, ensure_ascii=False))
