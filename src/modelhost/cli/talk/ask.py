"""``modelhost ask``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from modelhost.cli.talk.answers import print_text, stream_text
from modelhost.cli.talk.options import TalkOptions, open_client, with_options
from modelhost.cli.talk.person import TerminalUser

EXAMPLES: Final = (
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
        typer.Argument(
            metavar="QUESTION",
            help="The question; `-` is replaced by piped input.",
            show_default=False,
        ),
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


app = typer.Typer(add_completion=False)
app.command(epilog=EXAMPLES)(ask)
