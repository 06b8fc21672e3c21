"""The command line: which commands there are, and errors turned into sentences and exit codes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from modelhost.cli import bare_options, console
from modelhost.errors import ModelhostError
from modelhost.lazy import quick_imports
from modelhost.supported import unsupported_reason
from modelhost.version import __version__

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "serve": ("serve.command", "Serve a model over the OpenAI HTTP API until SIGTERM or Ctrl-C."),
    "ask": ("talk.chat:ask_app", "Ask one question, and print the answer as it arrives."),
    "chat": ("talk.chat:chat_app", "Chat with a model, line by line; /help lists the commands."),
    "speak": ("talk.media:speak_app", "Speak a text, and write the audio to a file."),
    "transcribe": ("talk.media:transcribe_app", "Transcribe a sound file, and print its text."),
    "image": ("talk.media:image_app", "Make an image of a text, or of a text and an image, and write it to a file."),
    "launch": ("launch.command", "Start a coding agent that uses a running host."),
    "mcp": ("mcp", "Run an MCP server over standard input and output, for a client that starts it."),
    "models": ("models.commands", "Find, download, show and remove models, and control those of a running host."),
    "engines": ("engines.commands", "List and install the engines that run models."),
    "tools": ("tools.commands", "Show and call the tools of MCP servers, of a running host or of a file."),
    "sessions": ("state:sessions_app", "Show, delete, export and import the sessions of a running host."),
    "state": ("state:state_app", "Save, restore and clear the state of a running host."),
    "audit": ("state:audit_app", "List audit log entries."),
    "stats": ("monitor:stats_app", "Show the performance of the host and of its models over a window of time."),
    "gpus": ("monitor:gpus_app", "Show what the GPUs are doing: load, memory, temperature, power."),
    "alerts": ("monitor:alerts_app", "List active alerts and their history."),
    "config": ("config", "Show and check the configuration."),
}
"""The commands in the order of ``modelhost --help``: of each, the module of ``modelhost.cli`` with its ``app``, and the
beginning of its help, for which that module need not be imported."""
FORMS: Final = ("run", "plain", "gguf", "diffusion", "speech")
"""The commands of mistral.rs. The help does not list them."""
NO_HOME: Final = "home directory"  # in the message of pathlib's error
INTERRUPTED_EXIT_CODE: Final = 130  # 128 + SIGINT, as shells report it


class _OnDemand(TyperGroup):
    """Imports each command when it is used, so that none waits for the modules of the others, and the help for none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with quick_imports():  # Typer imports pydantic for its first option
            return super().parse_args(
                ctx, self._with_command(ctx, args) if bare_options.begins_with_option(args) else args
            )

    def _with_command(self, ctx: Any, args: list[str]) -> list[str]:
        """Return ``args``, which begin with an option, with ``serve`` in front if it is an option of that."""
        own = [name for option in self.get_params(ctx) for name in option.opts]
        if bare_options.is_option_of(args[0], own):
            return args
        options = bare_options.options_with_value(self.get_command(ctx, bare_options.SERVE))
        if not bare_options.is_option_of(args[0], options):
            return [bare_options.SERVE, *args] if bare_options.is_closer_to(args[0], options, own) else args
        try:
            args = bare_options.insert_command(args, options, forms=(bare_options.SERVE, *FORMS), commands=COMMANDS)
        except bare_options.MisplacedOptionError as error:
            ctx.fail(str(error))
        return args

    def format_help(self, ctx: Any, formatter: Any) -> None:
        described: dict[str, Any] = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}
        TyperGroup(
            name=self.name,
            commands=described,
            params=self.params,
            help=self.help,
            epilog=self.epilog,
            rich_markup_mode=self.rich_markup_mode,
        ).format_help(ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:
        for name in COMMANDS:
            self.get_command(ctx, name)
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        known = (*COMMANDS, *FORMS)
        for name in (cmd_name,) if cmd_name in known else known:  # for an unknown one, similar ones are suggested
            if name not in self.commands:
                with quick_imports():
                    command = _imported(name)
                command.name = name
                self.add_command(command)
        return super().get_command(ctx, cmd_name)


def _imported(name: str) -> Any:
    module, _, attribute = ("serve.mistralrs" if name in FORMS else COMMANDS[name][0]).partition(":")
    command: Any = get_command(getattr(importlib.import_module(f"modelhost.cli.{module}"), attribute or "app"))
    return command.commands[name] if name in FORMS else command


app = typer.Typer(
    cls=_OnDemand,
    name="modelhost",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples:\n"
    "  modelhost serve                          the bundled model on http://127.0.0.1:8000\n"
    "  modelhost serve Qwen/Qwen3-4B-GGUF       a model from the Hugging Face hub\n"
    "  modelhost --m Qwen/Qwen3-4B-GGUF         the same: options alone mean serve\n"
    "  modelhost --port 1234 gguf -m DIR -f FILE  as mistral.rs is started: run, plain and -i too\n"
    '  modelhost ask "What is a llama?"         one question, one answer\n'
    "  modelhost chat                           a conversation\n"
    '  modelhost speak "Hello!" -o hello.mp3    speech\n'
    "  modelhost transcribe talk.mp3            its text\n"
    '  modelhost image "a lighthouse" -o a.png  an image\n'
    "  modelhost launch claude                  Claude Code with the running host\n"
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
    """Serve language models over the OpenAI HTTP API, and chat with them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (``None``: that of the process) and return its exit code."""
    if why := unsupported_reason(sys.platform):
        console.error(why)
        return 1
    try:
        code = _run(argv)
        console.flush()  # so that errors are reported here, and not when the interpreter exits
    except ModelhostError as error:
        console.error(error.message)
    except OSError as error:
        console.report_os_error(error)
    except RuntimeError as error:
        if NO_HOME not in str(error):
            raise
        console.error("There is no home directory for the ~ in a path: set HOME, or write the whole path.")
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    else:
        return code
    return 1


def _run(argv: Sequence[str] | None) -> int:
    try:
        get_command(app)(args=None if argv is None else list(argv), prog_name="modelhost")
    except SystemExit as ending:
        return _exit_code(ending.code)
    return 0


def run(args: Sequence[str]) -> int:
    """``modelhost serve`` with ``args``, such as ``["--m", "org/name", "--p", "2000"]``; returns its exit code."""
    return main(["serve", *args])


def _exit_code(code: str | int | None) -> int:
    """Return the exit status for ``SystemExit.code``, as the interpreter computes it."""
    if code is None:
        return 0
    return code if isinstance(code, int) else 1
