"""The loop of ``modelhost chat``: a line is a question, or a command that starts with a slash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import typer

from modelhost.cli import console
from modelhost.cli.answerer import Answerer
from modelhost.cli.answers import pieces, show
from modelhost.cli.conversation import Conversation
from modelhost.cli.person import Person
from modelhost.config.checks import suggestion
from modelhost.config.paths import at_home
from modelhost.errors import ModelhostError

HELP: Final[Mapping[str, str]] = {
    "/help": "show this list",
    "/clear": "forget the conversation, and what was agreed to in it; the system message stays",
    "/system [TEXT]": "set the system message; without TEXT, remove it",
    "/model [NAME]": "list the models; with NAME, go on with that one",
    "/save FILE": "write the conversation to FILE: as JSON if it ends in .json, otherwise as Markdown",
    "/quit": "end, as Ctrl-D does; Ctrl-C stops an answer",
}


class LineChat:
    """One chat at a terminal. ``read_line`` gives the next line and raises ``EOFError`` at the end.

    ``params`` are the fields of each request, the ``model`` to begin with among them.
    """

    def __init__(
        self,
        answerer: Answerer,
        conversation: Conversation,
        *,
        params: Mapping[str, Any],
        read_line: Callable[[], str],
        person: Person,
    ) -> None:
        self._answerer = answerer
        self._conversation = conversation
        self._model = str(params["model"])
        self._params = params
        self._read_line = read_line
        self._person = person
        self._saved: set[Path] = set()
        self._commands: Mapping[str, Callable[[str], None]] = {
            "/help": self._help,
            "/clear": self._clear,
            "/system": self._system,
            "/model": self._switch_model,
            "/save": self._save,
        }

    def run(self) -> None:
        """Talk until ``/quit`` or the end of the input. An error ends the answer, not the chat."""
        while (line := self._next_line()) not in {None, "/quit", "/exit"}:
            try:
                self._handle(line or "")
            except ModelhostError as error:
                console.error(error.message)
            except KeyboardInterrupt:
                typer.echo()

    def _next_line(self) -> str | None:
        while True:
            try:
                return self._read_line().strip()
            except KeyboardInterrupt:
                console.note("\n(/quit or Ctrl-D ends the chat)")
            except EOFError:
                typer.echo()
                return None

    def _handle(self, line: str) -> None:
        if not line:
            return
        if not line.startswith("/"):
            self._answer(line)
            return
        name, _, argument = line.partition(" ")
        command = self._commands.get(name)
        if command is None:
            console.error(f"unknown command {name}{suggestion(name, [*self._commands, '/quit'])}; /help lists them")
        else:
            command(argument.strip())

    def _answer(self, question: str) -> None:
        """Show the answer as it comes. One that is interrupted is kept as far as it came."""
        said: list[str] = []
        messages = self._conversation.asked(question)
        params = {**self._params, "model": self._model}
        try:
            with closing(pieces(self._answerer, messages, params, self._person)) as answer:
                for piece in answer:
                    said.append(piece)
                    show(piece)
        except KeyboardInterrupt:
            console.note("\n(stopped)")
        if said:
            show("\n")
            self._conversation.add(question, "".join(said))

    def _help(self, _argument: str) -> None:
        width = max(map(len, HELP))
        typer.echo("\n".join(f"{usage:{width}}  {meaning}" for usage, meaning in HELP.items()))

    def _clear(self, _argument: str) -> None:
        self._conversation.clear()
        self._person.agreed.clear()
        typer.echo("forgotten")

    def _system(self, text: str) -> None:
        self._conversation.system = text or None
        typer.echo("system message set" if text else "system message removed")

    def _switch_model(self, name: str) -> None:
        models = list(self._answerer.models())
        if not name:
            typer.echo("\n".join(f"{'*' if model == self._model else ' '} {model}" for model in models))
        elif name in models:
            self._model = name
            typer.echo(f"going on with {name}")
        else:
            console.error(f"there is no model {name}{suggestion(name, models)}; /model lists them")

    def _save(self, file: str) -> None:
        if not file:
            console.error("where to? /save FILE")
            return
        path = at_home(file)
        if path.exists() and path not in self._saved:
            console.error(f"{file} is already there; choose another name")
            return
        is_json = path.suffix == ".json"
        try:
            path.write_text(self._conversation.as_json() if is_json else self._conversation.as_markdown(), "utf-8")
        except OSError as error:
            console.error(f"cannot write {file}: {error.strerror}")
        else:
            self._saved.add(path)
            typer.echo(f"saved to {file}")
