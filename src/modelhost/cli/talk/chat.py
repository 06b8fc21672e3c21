"""``modelhost ask`` and ``modelhost chat``: one question, or the loop over questions and slash commands."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from modelhost.cli import console
from modelhost.cli.models.smallest import InventoryFile, Smallest, with_smallest
from modelhost.cli.running_host import BlockingClient, Message, named_host
from modelhost.cli.talk.answers import print_text, stream_text
from modelhost.cli.talk.options import TalkOptions, open_client, with_options
from modelhost.cli.talk.person import TerminalUser
from modelhost.config.checks import suggestion
from modelhost.config.environment import URL_VARIABLE
from modelhost.config.paths import expand_home
from modelhost.errors import ConfigError, ModelhostError


@dataclass(slots=True, kw_only=True)
class Conversation:
    """The messages of one chat so far, without questions that got no answer."""

    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    def add(self, question: str, answer: str) -> None:
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def clear(self) -> None:
        """Remove all messages except the system message."""
        self.turns.clear()

    def messages(self) -> list[Message]:
        """Return all messages, the system message first."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def as_json(self) -> str:
        """Return the messages as a JSON list in the format of the chat completions API."""
        return json.dumps(self.messages(), indent=2, ensure_ascii=False) + "\n"

    def as_markdown(self) -> str:
        return "\n".join(f"**{message['role']}:**\n\n{message['content']}\n" for message in self.messages())


HELP: Final[Mapping[str, str]] = {
    "/help": "show this list",
    "/clear": "forget the conversation, and what was agreed to in it; the system message stays",
    "/system [TEXT]": "set the system message; without TEXT, remove it",
    "/model [NAME]": "list the models; with NAME, go on with that one",
    "/save FILE": "write the conversation to FILE: as JSON if it ends in .json, otherwise as Markdown",
    "/quit": "end, as Ctrl-D does; Ctrl-C stops an answer",
}


class LineChat:
    """One chat at a terminal. ``read_line`` returns the next line and raises ``EOFError`` at the end.

    ``params`` are the fields of each request, including the first ``model``.
    """

    def __init__(
        self,
        client: BlockingClient,
        conversation: Conversation,
        *,
        params: Mapping[str, Any],
        read_line: Callable[[], str],
        person: TerminalUser,
    ) -> None:
        self._client = client
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
        """Show the answer as it comes. An interrupted answer is kept as far as it came."""
        said: list[str] = []
        messages = [*self._conversation.messages(), {"role": "user", "content": question}]
        params = {**self._params, "model": self._model}
        try:
            with closing(stream_text(self._client, messages, params, self._person)) as answer:
                for piece in answer:
                    said.append(piece)
                    print_text(piece)
        except KeyboardInterrupt:
            console.note("\n(stopped)")
        if said:
            print_text("\n")
            self._conversation.add(question, "".join(said))

    def _help(self, _argument: str) -> None:
        width = max(map(len, HELP))
        typer.echo("\n".join(f"{usage:{width}}  {meaning}" for usage, meaning in HELP.items()))

    def _clear(self, _argument: str) -> None:
        self._conversation.clear()
        self._person.approved_tools.clear()
        typer.echo("forgotten")

    def _system(self, text: str) -> None:
        self._conversation.system = text or None
        typer.echo("system message set" if text else "system message removed")

    def _switch_model(self, name: str) -> None:
        models = list(self._client.models())
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
        path = expand_home(file)
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


CHAT_EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost chat\n"
    '  modelhost chat --system "You are a pirate."\n'
    "  modelhost chat --model ./model.gguf\n"
    "  modelhost chat --smallest\n"
    "  modelhost chat --mcp-config mcp.json --approval ask\n"
    "  modelhost chat --url http://gpu-box:8000"
)
PROMPT: Final = "you> "


@with_options(TalkOptions)
def chat(options: TalkOptions, smallest: Smallest = False, inventory: InventoryFile = None) -> None:
    """Chat with a model, line by line; /help lists the commands.

    A running host answers if there is one; otherwise the command starts a model for this chat.
    """
    if smallest and named_host(options.url, None).url:
        raise ConfigError(
            f"--smallest starts a model here, and --url (or {URL_VARIABLE}) names a host; give one of them"
        )
    model = with_smallest(options.model, is_wanted=smallest, inventory=inventory)
    options = replace(options, model=model)
    with open_client(options) as (client, name):
        converse(client, {**options.request(), "model": name}, system=options.system)


def converse(client: BlockingClient, params: Mapping[str, Any], *, system: str | None) -> None:
    """Chat at the terminal until the user ends it; ``params`` are those of :class:`LineChat`."""
    if sys.stdin.isatty():
        _use_line_editing()
        console.note(f"talking with {params['model']}; /help lists the commands, Ctrl-D ends")
    LineChat(
        client, Conversation(system=system), params=params, read_line=_read_line, person=TerminalUser.at_terminal()
    ).run()


def _read_line() -> str:
    return input(PROMPT if sys.stdin.isatty() else "")


def _use_line_editing() -> None:
    """Give ``input`` editing and a history of this chat, where this Python has readline: importing it is enough."""
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")


chat_app = typer.Typer(add_completion=False)
chat_app.command(epilog=CHAT_EXAMPLES)(chat)


ASK_EXAMPLES: Final = (
    "Examples:\n"
    '  modelhost ask "Why is the sky blue?"\n'
    '  modelhost ask --temperature 0 --json "Say hello."\n'
    '  cat notes.txt | modelhost ask "Summarize this:" -\n'
    '  modelhost ask --url http://gpu-box:8000 "Hello?"'
)
STDIN: Final = "-"


@with_options(TalkOptions)
def ask(
    options: TalkOptions,
    question: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUESTION", help="The question; `-` is replaced by piped input.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the complete chat completion as JSON.")] = False,
) -> None:
    """Ask one question, and print the answer as it arrives.

    A running host answers if there is one; otherwise the command starts a model for this answer.
    """
    messages = [{"role": "system", "content": options.system}] if options.system else []
    messages.append({"role": "user", "content": _question(question or [])})
    with open_client(options) as (client, name):
        params = {"model": name, **options.request()}
        if as_json:
            typer.echo(json.dumps(client.complete(messages, params), indent=2, ensure_ascii=False))
            return
        for piece in stream_text(client, messages, params, TerminalUser.at_terminal()):
            print_text(piece)
        print_text("\n")


def _question(words: Sequence[str]) -> str:
    """The question of the command line, with ``-`` (or nothing at all) replaced by what is piped in.

    Raises:
        typer.BadParameter: there is no question, or it is empty.
    """
    if not words and sys.stdin.isatty():
        raise typer.BadParameter('no question given. For example: modelhost ask "Why is the sky blue?"')
    wanted = list(words) or [STDIN]
    try:
        piped = sys.stdin.read().strip() if STDIN in wanted else ""
    except UnicodeDecodeError as error:
        raise typer.BadParameter("what is piped in is not text") from error
    joined = " ".join(f"\n\n{piped}\n\n" if word == STDIN else word for word in wanted).strip()
    if not joined:
        raise typer.BadParameter("the question is empty")
    return joined


ask_app = typer.Typer(add_completion=False)
ask_app.command(epilog=ASK_EXAMPLES)(ask)
