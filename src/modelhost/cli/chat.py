"""``modelhost chat``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import typer

from modelhost.cli import console
from modelhost.cli.answerer import Answerer
from modelhost.cli.connect import open_answerer
from modelhost.cli.conversation import Conversation
from modelhost.cli.line_chat import LineChat
from modelhost.cli.named_host import named_host
from modelhost.cli.person import Person
from modelhost.cli.smallest import InventoryFile, Smallest, with_smallest
from modelhost.cli.talk_options import TalkOptions, takes_talk_options
from modelhost.config.environment import URL_VARIABLE
from modelhost.errors import ConfigError

EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost chat\n"
    '  modelhost chat --system "You are a pirate."\n'
    "  modelhost chat --model ./model.gguf\n"
    "  modelhost chat --smallest\n"
    "  modelhost chat --mcp-config mcp.json --approval ask\n"
    "  modelhost chat --url http://gpu-box:8000"
)
PROMPT: Final = "you> "


@takes_talk_options
def chat(options: TalkOptions, smallest: Smallest = False, inventory: InventoryFile = None) -> None:
    """Talk with a model, line by line; /help lists the commands.

    A running host answers if there is one; otherwise the command starts a model of its own for the time of the chat.
    """
    if smallest and named_host(options.url, None).url:
        raise ConfigError(
            f"--smallest starts a model here, and --url (or {URL_VARIABLE}) names a host; give one of them"
        )
    model = with_smallest(options.model, is_wanted=smallest, inventory=inventory)
    options = replace(options, model=model)
    with open_answerer(options) as (answering, name):
        converse(answering, {**options.request(), "model": name}, system=options.system)


def converse(answering: Answerer, params: Mapping[str, Any], *, system: str | None) -> None:
    """Talk at the terminal until the person ends it; ``params`` are those of :class:`LineChat`."""
    if sys.stdin.isatty():
        _use_line_editing()
        console.note(f"talking with {params['model']}; /help lists the commands, Ctrl-D ends")
    LineChat(
        answering,
        Conversation(system=system),
        params=params,
        read_line=_read_line,
        person=Person.at_the_terminal(),
    ).run()


def _read_line() -> str:
    return input(PROMPT if sys.stdin.isatty() else "")


def _use_line_editing() -> None:
    """Give ``input`` editing and a history of this chat, where this Python has readline: importing it is enough."""
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")


app = typer.Typer(add_completion=False)
app.command(epilog=EXAMPLES)(chat)
