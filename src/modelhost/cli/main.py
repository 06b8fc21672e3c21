"""The command line: puts the commands together, and turns errors into sentences and exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from modelhost.cli import console
from modelhost.cli.ask import ask
from modelhost.cli.audit import AUDIT_EXAMPLES, AUDIT_HELP, audit
from modelhost.cli.chat import chat
from modelhost.cli.config import config_app
from modelhost.cli.engines import engines_app
from modelhost.cli.mcp import MCP_EXAMPLES, mcp
from modelhost.cli.models import models_app
from modelhost.cli.serve import SERVE_EXAMPLES, serve
from modelhost.cli.sessions import sessions_app
from modelhost.cli.state import state_app
from modelhost.cli.tools import tools_app
from modelhost.errors import ModelhostError
from modelhost.version import __version__

INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, as shells report it

app = typer.Typer(
    name="modelhost",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples:\n"
    "  modelhost serve                          the bundled model on http://127.0.0.1:8000\n"
    "  modelhost serve Qwen/Qwen3-4B-GGUF       a model from the Hugging Face hub\n"
    '  modelhost ask "What is a llama?"         one question, one answer\n'
    "  modelhost chat                           a conversation\n"
    "  modelhost models list                    the models on this machine\n"
    "  modelhost tools servers                  the MCP servers of the running host\n"
    "  modelhost mcp                            be an MCP server, for Claude Desktop and others",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelhost {__version__}")
        raise typer.Exit


@app.callback()
def modelhost(
    _version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Host language models behind the OpenAI HTTP API, and talk to them."""


app.command("serve", epilog=SERVE_EXAMPLES)(serve)
app.command(
    "ask",
    epilog="Examples:\n"
    '  modelhost ask "Why is the sky blue?"\n'
    '  modelhost ask --temperature 0 --json "Say hello."\n'
    '  cat notes.txt | modelhost ask "Summarize this:" -\n'
    '  modelhost ask --url http://gpu-box:8000 "Hello?"',
)(ask)
app.command(
    "chat",
    epilog="Examples:\n"
    "  modelhost chat\n"
    '  modelhost chat --system "You are a pirate."\n'
    "  modelhost chat --model ./model.gguf\n"
    "  modelhost chat --smallest\n"
    "  modelhost chat --mcp-config mcp.json --approval ask\n"
    "  modelhost chat --url http://gpu-box:8000",
)(chat)
app.command("mcp", epilog=MCP_EXAMPLES)(mcp)
app.add_typer(models_app, name="models")
app.add_typer(engines_app, name="engines")
app.add_typer(tools_app, name="tools")
app.add_typer(sessions_app, name="sessions")
app.add_typer(state_app, name="state")
app.command("audit", help=AUDIT_HELP, epilog=AUDIT_EXAMPLES)(audit)
app.add_typer(config_app, name="config")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (``None``: that of the process) and return its exit code."""
    try:
        get_command(app)(args=None if argv is None else list(argv), prog_name="modelhost")
    except SystemExit as ending:
        return _exit_code(ending.code)
    except ModelhostError as error:
        console.error(error.message)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    return 0


def run(args: Sequence[str]) -> int:
    """``modelhost serve`` with ``args``, such as ``["--m", "org/name", "--p", "2000"]``; returns its exit code."""
    return main(["serve", *args])


def _exit_code(code: str | int | None) -> int:
    """The number behind ``SystemExit.code``, as the interpreter reads it."""
    if code is None:
        return 0
    return code if isinstance(code, int) else 1
